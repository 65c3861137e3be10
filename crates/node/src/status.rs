//! Whether a status is worth a write, and the patch that makes it so.

use std::time::Duration;

use backstay_api::meta;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::wait;

/// The strategic merge patch that brings the server's copy of a status to ours; `None` if it says the same already.
/// A server may leave out what is empty, so that counts as equal; fields that only the server's copy has are not ours.
pub(crate) fn patch(server: &Value, ours: &Value) -> Option<Value> {
    let fields = ours.as_object()?.iter();
    let changed = fields.filter(|(field, value)| differs(server.get(*field).unwrap_or(&Value::Null), value));
    let patch: Map<String, Value> = changed
        .map(|(field, value)| match field.as_str() {
            "conditions" => (field.clone(), conditions(meta::list_at(server, &["conditions"]), value)),
            _ => (field.clone(), value.clone()),
        })
        .collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Stops the same patch from being sent again and again to a server that does not take it as we mean it.
#[derive(Debug, Default)]
pub(crate) struct Repetition {
    last: Option<(u64, Timestamp)>,
}

/// So long the same patch is not sent twice.
const REPEAT_AFTER: Duration = Duration::from_secs(10);

impl Repetition {
    /// Whether the patch may be sent now; it is then taken to have been.
    pub(crate) fn allows(&mut self, patch: &Value, now: Timestamp) -> bool {
        let digest = crate::simulated::hash(&patch.to_string());
        if self.last.is_some_and(|(last, at)| last == digest && !wait::is_over(at, REPEAT_AFTER, now)) {
            return false;
        }
        self.last = Some((digest, now));
        true
    }
}

/// The conditions that differ. They merge by type, so a field that is to go must be said to be null.
fn conditions(server: &[Value], ours: &Value) -> Value {
    let mut changed = Vec::new();
    for condition in ours.as_array().into_iter().flatten() {
        let held = server.iter().find(|held| held.get("type") == condition.get("type"));
        let Some(held) = held.and_then(Value::as_object) else {
            changed.push(condition.clone());
            continue;
        };
        let gone = held.keys().filter(|field| condition.get(field.as_str()).is_none());
        let mut patch = condition.clone();
        gone.for_each(|field| patch[field] = Value::Null);
        if differs(&Value::Object(held.clone()), &patch) {
            changed.push(patch);
        }
    }
    Value::Array(changed)
}

fn differs(server: &Value, ours: &Value) -> bool {
    match (server, ours) {
        (Value::Object(server), Value::Object(ours)) => {
            let differing =
                |(field, value): (&String, &Value)| differs(server.get(field).unwrap_or(&Value::Null), value);
            let left_over = |(field, value): (&String, &Value)| !ours.contains_key(field) && !is_empty(value);
            ours.iter().any(differing) || server.iter().any(left_over)
        }
        (Value::Array(server), Value::Array(ours)) => {
            server.len() != ours.len() || server.iter().zip(ours).any(|(server, ours)| differs(server, ours))
        }
        _ => server != ours && !(is_empty(server) && is_empty(ours)),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_written() {
        let server = json!({ "phase": "Running", "qosClass": "BestEffort", "conditions": [
            { "type": "Ready", "status": "False", "reason": "ContainersNotReady" }, { "type": "PodScheduled", "status": "True" }] });
        for (ours, expected) in [
            (json!({ "phase": "Running" }), None),
            (json!({ "phase": "Running", "containerStatuses": [] }), None),
            (json!({ "phase": "Failed" }), Some(json!({ "phase": "Failed" }))),
            (json!({ "conditions": server["conditions"] }), None),
            (
                json!({ "conditions": [{ "type": "Ready", "status": "True" }, { "type": "PodScheduled", "status": "True" }] }),
                Some(json!({ "conditions": [{ "type": "Ready", "status": "True", "reason": null }] })),
            ),
        ] {
            assert_eq!(patch(&server, &ours), expected, "{ours}");
        }
    }

    #[test]
    fn the_same_patch_waits() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut repetition = Repetition::default();
        let (one, two) = (json!({ "phase": "Running" }), json!({ "phase": "Failed" }));
        let sent = [(&one, 0), (&one, 9), (&one, 10), (&two, 11), (&one, 12)];
        let allowed: Vec<bool> = sent.map(|(patch, second)| repetition.allows(patch, at(second))).to_vec();
        assert_eq!(allowed, [true, false, true, true, true]);
    }

    #[test]
    fn a_state_replaces_another() {
        let server = json!({ "containerStatuses": [{ "name": "a", "state": { "running": { "startedAt": "t" } }, "lastState": {} }] });
        let ours = json!({ "containerStatuses": [{ "name": "a", "state": { "waiting": { "reason": "x" } } }] });
        assert_eq!(patch(&server, &ours), Some(ours));
    }
}
