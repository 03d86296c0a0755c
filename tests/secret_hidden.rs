//! A secret value: stored as the value alone, never shown, overwritten in the end.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::rc::Rc;

use larder::Secret;
use larder::codec::{Bincode, Codec};
use larder::secret::Zeroize;
use serde::ser::Error;
use serde::{Serialize, Serializer};

#[test]
fn it_is_written_as_the_value_alone() {
    let secret = Secret::new(vec!["a".to_owned()]);
    let text = serde_json::to_string(&secret).unwrap();
    assert_eq!(text, r#"["a"]"#);
    let back: Secret<Vec<String>> = serde_json::from_str(&text).unwrap();
    assert_eq!(back.into_inner(), ["a"]);
}

#[test]
fn what_cannot_be_read_is_not_quoted() {
    let plain = serde_json::from_str::<u32>(r#""hush""#).unwrap_err();
    assert!(plain.to_string().contains("hush"), "serde quotes: {plain}");
    let hidden = serde_json::from_str::<Secret<u32>>(r#""hush""#).unwrap_err();
    assert!(!format!("{hidden} {hidden:?}").contains("hush"), "{hidden}");
    assert!(hidden.to_string().contains("a secret u32"), "{hidden}");
}

/// Tells when it is overwritten, and quotes itself when it is written.
#[derive(Clone, Default)]
struct Tells(Rc<Cell<u32>>);
impl Zeroize for Tells {
    fn zeroize(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}
impl Serialize for Tells {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(Error::custom("hush is no text"))
    }
}

#[test]
fn what_cannot_be_written_is_not_quoted() {
    let plain = serde_json::to_string(&Tells::default()).unwrap_err();
    assert!(plain.to_string().contains("hush"));
    let hidden = serde_json::to_string(&Secret::new(Tells::default())).unwrap_err();
    assert!(!format!("{hidden} {hidden:?}").contains("hush"), "{hidden}");
}

#[test]
fn it_is_overwritten_when_it_is_dropped_and_not_when_it_is_taken_out() {
    let tells = Tells::default();
    let secret = Secret::from(tells.clone());
    drop(secret.clone());
    assert_eq!(tells.0.get(), 1);
    drop(secret);
    assert_eq!(tells.0.get(), 2);
    let taken = Secret::new(tells.clone()).into_inner();
    assert_eq!((tells.0.get(), taken.0.get()), (2, 2));
}

#[test]
fn it_shows_nothing_of_itself() {
    let secret = Secret::new("hush".to_owned());
    assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(..) Secret(..)");
}

/// In a cache, beside what is not secret.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Login {
    user: String,
    password: Secret<String>,
}

#[tokio::test]
async fn a_cache_holds_it_and_a_type_without_it_reads_the_same() {
    let hidden = Login {
        user: "ada".to_owned(),
        password: "hush".to_owned().into(),
    };
    let plain = ("ada".to_owned(), "hush".to_owned());
    let hidden = Bincode.encode(&hidden, 100).unwrap();
    assert_eq!(hidden, Bincode.encode(&plain, 100).unwrap());
    let larder = larder::Larder::builder().start().await.unwrap();
    let logins: larder::Cache<Login> = larder.cache("logins").unwrap();
    let user = "ada".to_owned();
    let password = Secret::new("hush".to_owned());
    logins.set("1", Login { user, password }).await.unwrap();
    let found = logins.get("1").await.unwrap().unwrap();
    assert_eq!((&*found.user, &**found.password.expose()), ("ada", "hush"));
    let shown = format!("{:?} {:?}", *found, found);
    assert!(!shown.contains("hush"), "{shown}");
    let soon = std::time::Duration::from_secs(60);
    larder.shutdown(soon).await.unwrap();
}
