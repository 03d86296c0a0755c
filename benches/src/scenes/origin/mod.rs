//! What was published about the cache of a mobile app, done again and answered by larder: each figure
//! stands beside the same work on a bare store and beside larder's.

pub mod chunks;
pub mod faults;
pub mod session;
mod store;
pub mod stores;
pub mod synced;
pub mod watched;

/// One figure of the table; nothing where there is none.
fn ms(time: Option<f64>) -> String {
    match time {
        None => String::new(),
        Some(ms) if ms < 10.0 => format!("{ms:.2}"),
        Some(ms) => format!("{ms:.0}"),
    }
}
