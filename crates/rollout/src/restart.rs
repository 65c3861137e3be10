//! `rollout restart`: marks the template, so that all pods are replaced.

use backstay_api::meta;
use jiff::Zoned;
use serde_json::{Value, json};

/// When the last restart was asked for; in the template's annotations.
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    #[error(
        "failed to create patch for {0}: if restart has already been triggered within the past second, please wait \
         before attempting to trigger another"
    )]
    SameSecond(String),
}

/// The strategic merge patch that marks the template with `now`, as local time in whole seconds.
pub fn patch(object: &Value, now: &Zoned) -> Result<Value, RestartError> {
    let now = rfc3339(now);
    let path = ["spec", "template", "metadata", "annotations", RESTARTED_AT];
    if meta::str_at(object, &path) == now {
        return Err(RestartError::SameSecond(meta::name(object).to_string()));
    }
    Ok(json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}}))
}

/// `2026-01-01T00:00:00+01:00`, with `Z` where the offset is zero.
fn rfc3339(time: &Zoned) -> String {
    let zone = if time.offset().is_zero() { "Z".to_string() } else { time.strftime("%:z").to_string() };
    format!("{}{zone}", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_local_time_and_must_differ_from_the_last() {
        let now: Zoned = "2026-01-01T12:00:00.5+01:00[+01:00]".parse().unwrap();
        let patch = patch(&json!({"metadata": {"name": "x"}}), &now).unwrap();
        let expected = r#"{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-01-01T12:00:00+01:00"}}}}}"#;
        assert_eq!(patch.to_string(), expected);
        let mut marked = patch;
        meta::set_meta(&mut marked, "name", "x");
        assert_eq!(super::patch(&marked, &now), Err(RestartError::SameSecond("x".into())));
        assert_eq!(rfc3339(&"2026-01-01T12:00:00Z[UTC]".parse().unwrap()), "2026-01-01T12:00:00Z");
    }
}
