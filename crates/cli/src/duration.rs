//! Durations as Go reads them: `1h30m`, `250ms`, `0`.

pub use backstay_api::duration::parse;
