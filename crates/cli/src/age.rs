//! How long ago something was.

use backstay_api::table::human_duration;
use jiff::Timestamp;

/// `5m`, `<unknown>` for what is no time.
pub fn of(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => human_duration(Timestamp::now().as_second() - time.as_second()),
        Err(_) => "<unknown>".to_string(),
    }
}
