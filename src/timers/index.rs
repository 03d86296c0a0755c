//! Which timer a key has: numbers of nodes, found by hash.
//!
//! Many small tables rather than one: each grows by itself, so neither the time nor the memory of a
//! growth is that of the whole index.

use hashbrown::HashTable;

/// How many tables.
const TABLES: usize = 64;
/// What a table is made for at first.
const ROOM_MIN: usize = 14;

/// Numbers by hash.
pub struct Index(Box<[HashTable<u32>]>);

impl Index {
    pub fn new() -> Self {
        Self((0..TABLES).map(|_| HashTable::new()).collect())
    }

    // The table inside uses the lowest bits and the top seven.
    fn at(hash: u64) -> usize {
        (hash >> 32) as usize % TABLES
    }

    /// The number that `is` says yes to.
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let table = self.0.get(Self::at(hash))?;
        table.find(hash, |id| is(*id)).copied()
    }

    /// Adds a number that is not there.
    pub fn add(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) {
        if let Some(table) = self.0.get_mut(Self::at(hash)) {
            if table.len() == table.capacity() {
                make_room(table, &hash_of);
            }
            table.insert_unique(hash, id, |id| hash_of(*id));
        }
    }

    /// Removes a number. Its node must still be there, since tables that have become too large are
    /// made anew.
    pub fn remove(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) {
        if let Some(table) = self.0.get_mut(Self::at(hash)) {
            if let Ok(found) = table.find_entry(hash, |other| *other == id) {
                found.remove();
            }
            if table.len() * 8 < table.num_buckets() && table.capacity() > ROOM_MIN {
                rebuild(table, table.len() * 2, &hash_of);
            }
        }
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        let tables: usize = self.0.iter().map(HashTable::allocation_size).sum();
        tables + size_of_val(&*self.0)
    }
}

/// IMPORTANT: left to itself the table would double as soon as it is half full and the rest are graves
/// of removed numbers; that alone would pass the promised bytes per timer. So below three quarters
/// it is only cleaned.
fn make_room(table: &mut HashTable<u32>, hash_of: &impl Fn(u32) -> u64) {
    let buckets = table.num_buckets();
    let full = table.len() * 4 >= buckets * 3;
    rebuild(table, buckets / 8 * if full { 14 } else { 7 }, hash_of);
}

fn rebuild(table: &mut HashTable<u32>, room: usize, hash_of: &impl Fn(u32) -> u64) {
    let mut new = HashTable::with_capacity(room.max(ROOM_MIN));
    for id in table.drain() {
        new.insert_unique(hash_of(id), id, |id| hash_of(*id));
    }
    *table = new;
}
