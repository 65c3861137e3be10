//! The words and number forms in which a kubelet speaks.

/// The form of every time in a pod's status.
pub use backstay_api::time::seconds as time;
use jiff::Timestamp;

/// Reads a time of the API; `None` if it is none.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// A duration as Go prints it, for whole seconds: `10s`, `1m20s`, `5m0s`, `1h0m0s`.
pub fn go_seconds(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_look_like_gos() {
        for (seconds, text) in [(0, "0s"), (10, "10s"), (80, "1m20s"), (300, "5m0s"), (3600, "1h0m0s")] {
            assert_eq!(go_seconds(seconds), text);
        }
    }
}
