//! SQLite with a write-ahead log: one table, one connection, prepared statements.

use std::path::Path;
use std::sync::Mutex;

use rusqlite::Connection;

use super::records::Records;
use super::{CACHE_BYTES, Safety, Store};

pub struct Sqlite(Mutex<Connection>);

impl Sqlite {
    pub fn open(dir: &Path, safety: Safety) -> Self {
        let connection = Connection::open(dir.join("sqlite")).expect("a database");
        // What need not survive the loss of power is not synced at all, not even at checkpoints.
        let synchronous = match safety {
            Safety::Written => "OFF",
            Safety::Synced => "FULL",
        };
        let set_up = format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; \
             PRAGMA cache_size = -{}; \
             CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;",
            CACHE_BYTES >> 10
        );
        connection.execute_batch(&set_up).expect("a table");
        Self(Mutex::new(connection))
    }
}

impl Store for Sqlite {
    fn commit(&self, records: &Records, numbers: &[u32], _: Safety) {
        let mut connection = self.0.lock().expect("a connection");
        let transaction = connection.transaction().expect("a transaction");
        {
            let text = "INSERT OR REPLACE INTO records VALUES (?1, ?2)";
            let mut put = transaction.prepare_cached(text).expect("a statement");
            for &n in numbers {
                let done = put.execute((records.key(n), records.value(n)));
                done.expect("an insertion");
            }
        }
        transaction.commit().expect("a commit");
    }

    fn get(&self, key: &str) -> bool {
        let connection = self.0.lock().expect("a connection");
        let text = "SELECT value FROM records WHERE key = ?1";
        let mut get = connection.prepare_cached(text).expect("a statement");
        let found = get.query_row([key], |row| row.get::<_, String>(0));
        std::hint::black_box(found).is_ok()
    }
}
