//! The table in all its states.
