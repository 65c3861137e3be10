//! What has changed about a node, as its events tell it: from the object that the server holds to what the node reports
//! now.
//!
//! Source of reasons and words: the kubelet's setters of the node's status.

use backstay_api::meta;
use serde_json::Value;

/// What an event about the node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) is_warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Condition, and what has come true when it becomes `True` and when it becomes `False`.
const CONDITIONS: [(&str, &str, &str); 4] = [
    ("MemoryPressure", "NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
    ("DiskPressure", "NodeHasDiskPressure", "NodeHasNoDiskPressure"),
    ("PIDPressure", "NodeHasInsufficientPID", "NodeHasSufficientPID"),
    ("Ready", "NodeReady", "NodeNotReady"),
];

/// Compares a node before and now. Where there was none, or nobody knew, all of it is news.
pub(crate) fn between(node: &str, before: &Value, now: &Value) -> Vec<Transition> {
    let boot_id = |node| meta::str_at(node, &["status", "nodeInfo", "bootID"]);
    let (last, current) = (boot_id(before), boot_id(now));
    let rebooted = (!last.is_empty() && last != current).then(|| Transition {
        is_warning: true,
        reason: "Rebooted",
        message: format!("Node {node} has been rebooted, boot id: {current}"),
    });
    let changed = CONDITIONS.iter().filter(|(kind, ..)| condition(before, kind) != condition(now, kind));
    let told = changed.map(|(kind, when_true, when_false)| {
        let reason = if condition(now, kind) == "True" { *when_true } else { *when_false };
        Transition { is_warning: false, reason, message: message(node, reason) }
    });
    rebooted.into_iter().chain(told).collect()
}

/// What is to be told of a node that was taken out of service, or was not, and now is, or is not.
pub(crate) fn of_service(was_unschedulable: bool, is_unschedulable: bool) -> Option<&'static str> {
    match (was_unschedulable, is_unschedulable) {
        (false, true) => Some("NodeNotSchedulable"),
        (true, false) => Some("NodeSchedulable"),
        _ => None,
    }
}

pub(crate) fn message(node: &str, reason: &str) -> String {
    format!("Node {node} status is now: {reason}")
}

/// The status of a condition; empty if it is not there.
fn condition<'a>(node: &'a Value, kind: &str) -> &'a str {
    meta::condition(node, kind).map_or("", |condition| meta::str_at(condition, &["status"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `ready memory disk pid boot`; `-`: not there.
    fn node(text: &str) -> Value {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [ready, memory, disk, pid, boot_id] = words[..] else { return Value::Null };
        let all = [("MemoryPressure", memory), ("DiskPressure", disk), ("PIDPressure", pid), ("Ready", ready)];
        let there = all.into_iter().filter(|(_, status)| *status != "-");
        let conditions: Vec<Value> = there.map(|(kind, status)| json!({ "type": kind, "status": status })).collect();
        json!({ "status": { "conditions": conditions, "nodeInfo": { "bootID": boot_id.trim_matches('-') } } })
    }

    #[test]
    fn what_is_told() {
        const WELL: &str = "True False False False b1";
        const FIRST: [&str; 4] =
            ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID", "NodeReady"];
        for (before, now, expected) in [
            ("", WELL, &FIRST[..]),
            ("- - - - -", WELL, &FIRST),
            ("Unknown Unknown Unknown Unknown b1", WELL, &FIRST),
            (WELL, WELL, &[]),
            (WELL, "False False False False b1", &["NodeNotReady"]),
            ("False False False False b1", WELL, &["NodeReady"]),
            (
                WELL,
                "True True True True b1",
                &["NodeHasInsufficientMemory", "NodeHasDiskPressure", "NodeHasInsufficientPID"],
            ),
            ("True False True False b1", WELL, &["NodeHasNoDiskPressure"]),
            (WELL, "True False False False b2", &["Rebooted"]),
            ("True False False False -", WELL, &[]),
            ("Unknown False False False b1", "True False False False b2", &["Rebooted", "NodeReady"]),
        ] {
            let told = between("n1", &node(before), &node(now));
            assert_eq!(told.iter().map(|it| it.reason).collect::<Vec<_>>(), expected, "{before} -> {now}");
            for it in told {
                let message = match it.is_warning {
                    true => "Node n1 has been rebooted, boot id: b2".to_string(),
                    false => format!("Node n1 status is now: {}", it.reason),
                };
                assert_eq!(it.message, message);
            }
        }
    }
}
