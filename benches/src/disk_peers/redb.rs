//! redb: a copy-on-write tree in one file.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::records::Records;
use super::{CACHE_BYTES, Safety, Store};

const TABLE: TableDefinition<&str, &str> = TableDefinition::new("records");

pub struct Redb(Database);

impl Redb {
    pub fn open(dir: &Path) -> Self {
        let db = Database::builder()
            .set_cache_size(CACHE_BYTES as usize)
            .create(dir.join("redb"))
            .expect("a database");
        let store = Self(db);
        // The table is there before anybody reads.
        store.commit_all(|_| (), Durability::Immediate);
        store
    }

    fn commit_all(
        &self,
        fill: impl FnOnce(&mut redb::Table<'_, &'static str, &'static str>),
        durability: Durability,
    ) {
        let mut transaction = self.0.begin_write().expect("a transaction");
        let set = transaction.set_durability(durability);
        set.expect("a durability");
        fill(&mut transaction.open_table(TABLE).expect("a table"));
        transaction.commit().expect("a commit");
    }
}

impl Store for Redb {
    fn commit(&self, records: &Records, numbers: &[u32], safety: Safety) {
        let durability = match safety {
            Safety::Written => Durability::None,
            Safety::Synced => Durability::Immediate,
        };
        let fill = |table: &mut redb::Table<'_, &'static str, &'static str>| {
            for &n in numbers {
                let put = table.insert(records.key(n), records.value(n));
                put.expect("an insertion");
            }
        };
        self.commit_all(fill, durability);
    }

    fn get(&self, key: &str) -> bool {
        let transaction = self.0.begin_read().expect("a transaction");
        let table = transaction.open_table(TABLE).expect("a table");
        let found = table.get(key).expect("an answer");
        std::hint::black_box(found).is_some()
    }
}
