//! Keys for tests: how to see that a text tells nothing of one, and what is logged meanwhile.
#![allow(dead_code, reason = "every test takes what it needs")]

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Mutex};

use larder::secret::{KeyError, KeyProvider, MasterKey};
use tracing_subscriber::fmt::MakeWriter;

/// A key as anybody makes one, as text.
pub fn fresh() -> String {
    MasterKey::generate().unwrap().to_base64().to_string()
}

/// How many characters of a key's text may stand in another text by chance.
const BY_CHANCE: usize = 7;

/// Whether `shown` has a piece of `text`, or of the bytes that are `text` as base64, in any way in which
/// bytes are commonly shown.
pub fn tells(shown: &str, text: &str) -> bool {
    let has = |piece: &str| shown.contains(piece);
    let text: Vec<char> = text.trim().chars().collect();
    let mut pieces = text.windows(BY_CHANCE + 1);
    if pieces.any(|piece| has(&piece.iter().collect::<String>())) {
        return true;
    }
    let text: String = text.into_iter().collect();
    let Ok(bytes) = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, text.trim()) else {
        return false;
    };
    let packed: String = shown.split_whitespace().collect();
    bytes.windows(4).any(|bytes| {
        let numbers = format!("{bytes:?}").replace([' ', '[', ']'], "");
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        packed.contains(&numbers) || packed.to_lowercase().contains(&hex)
    })
}

/// What `provider` answers: the key as text, or why there is none, which then tells nothing of `texts`.
pub fn ask(provider: &impl KeyProvider, texts: &[&str]) -> Result<String, KeyError> {
    let answer = provider.key();
    let shown = format!("{answer:?} {answer:#?} {}", provider.name());
    for text in texts {
        assert!(!tells(&shown, text), "{shown}");
    }
    let answer = answer.map(|key| key.to_base64().to_string());
    if let Err(error) = &answer {
        for text in texts {
            assert!(!tells(&error.to_string(), text), "{error}");
        }
    }
    answer
}

/// What was logged while a test runs, at any level.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// Runs `work` and listens to its thread.
    pub fn of<T>(&self, work: impl FnOnce() -> T) -> T {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(self.clone());
        tracing::subscriber::with_default(subscriber.finish(), work)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
