//! Nothing but a place for benchmarks; see `benches/`.
