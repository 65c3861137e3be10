//! When a node gave its last sign of life.

use backstay_api::meta;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// The last sign of life of one node, by our own clock: clocks of nodes are not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Heartbeat and verdict of the node's own last report.
    report: Box<str>,
    /// `renewTime` of its lease.
    renewed: Box<str>,
    pub(super) at: Timestamp,
    /// How long the node's lease says it is good for. A kubelet's 40 s are less than [`super::GRACE`]; a fleet of
    /// simulated nodes, which renews thousands of leases from one process, asks for more.
    pub(super) lease: SignedDuration,
}

impl Heard {
    /// Nothing but that there is such a node.
    pub fn first(now: Timestamp) -> Self {
        Self { report: "".into(), renewed: "".into(), at: now, lease: SignedDuration::ZERO }
    }

    /// The same sign of life, by a clock that is so much ahead of ours.
    pub fn on_another_clock(&self, ahead: SignedDuration) -> Self {
        let at = self.at.saturating_add(ahead).unwrap_or(Timestamp::MAX);
        Self { at, ..self.clone() }
    }

    /// Takes in the node's state; the time moves only when the node has said something new.
    pub fn report(&mut self, node: &Value, now: Timestamp) {
        let Some(ready) = meta::condition(node, "Ready") else { return };
        let status = meta::str_at(ready, &["status"]);
        // Our own verdict is no sign of life.
        if status == "Unknown" {
            return;
        }
        let report = format!("{} {status}", meta::str_at(ready, &["lastHeartbeatTime"]));
        if *self.report != *report {
            (self.report, self.at) = (report.into(), now);
        }
    }

    /// What is known of the node's lease: `renewTime`, and for how long it is good.
    pub fn lease(&self) -> Option<(&str, i64)> {
        (!self.renewed.is_empty()).then(|| (&*self.renewed, self.lease.as_secs()))
    }

    /// The lease is gone; until then it was good.
    pub fn lost_lease(&mut self) {
        self.renewed = "".into();
    }

    /// Takes in the node's lease.
    pub fn renewal(&mut self, renew_time: &str, seconds: i64, now: Timestamp) {
        if *self.renewed != *renew_time {
            (self.renewed, self.at) = (renew_time.into(), now);
            self.lease = SignedDuration::from_secs(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Takes in `lease TIME`, `report HEARTBEAT STATUS`, one per second from 1 on; the result is when it was heard last.
    fn check(signs: &[&str], expected: i64) {
        let mut heard = Heard::first(Timestamp::UNIX_EPOCH);
        for (second, sign) in (1..).zip(signs) {
            let now = Timestamp::from_second(second).expect("in range");
            match sign.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["lease", time] => heard.renewal(time, 40, now),
                ["report", heartbeat, status] => {
                    let ready = json!({ "type": "Ready", "status": status, "lastHeartbeatTime": heartbeat });
                    heard.report(&json!({ "status": { "conditions": [ready] } }), now);
                }
                _ => heard.report(&json!({}), now),
            }
        }
        assert_eq!(heard.at.as_second(), expected, "{signs:?}");
    }

    #[test]
    fn only_what_is_new_is_a_sign_of_life() {
        check(&[], 0);
        check(&["nothing"], 0);
        check(&["lease a", "lease a"], 1);
        check(&["lease a", "lease b"], 2);
        check(&["report a True", "report a True", "lease a", "lease a"], 3);
        check(&["report a True", "report a False"], 2);
        check(&["report a True", "report b True"], 2);
    }

    #[test]
    fn our_own_verdict_is_none() {
        check(&["report a True", "report a Unknown"], 1);
        check(&["report a True", "report a Unknown", "report b True"], 3);
        check(&["report a True", "report a Unknown", "lease a"], 3);
    }
}
