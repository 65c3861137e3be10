//! How long ago something was.

use jiff::Timestamp;

/// `5m`, `<unknown>` for what is no time.
pub fn of(time: &str) -> String {
    backstay_api::table::age(time, Timestamp::now())
}
