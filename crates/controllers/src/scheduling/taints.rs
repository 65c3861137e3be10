//! Taints and tolerations. Source: `core/v1` `Taint`, `Toleration`.

use serde::Deserialize;

/// What keeps pods away from a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: String,
}

/// What lets a pod stay all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Toleration {
    /// Empty: any key (with `Exists`).
    pub key: String,
    pub operator: String,
    pub value: String,
    /// Empty: any effect.
    pub effect: String,
    /// How long a `NoExecute` taint is borne; `None`: for good.
    pub toleration_seconds: Option<i64>,
}

pub const NO_SCHEDULE: &str = "NoSchedule";
pub const NO_EXECUTE: &str = "NoExecute";

/// Automatic tolerations of daemon pods, in the order they are appended: key, effect, only with `hostNetwork`.
pub const DAEMON_TOLERATIONS: [(&str, &str, bool); 7] = [
    ("node.kubernetes.io/not-ready", NO_EXECUTE, false),
    ("node.kubernetes.io/unreachable", NO_EXECUTE, false),
    ("node.kubernetes.io/disk-pressure", NO_SCHEDULE, false),
    ("node.kubernetes.io/memory-pressure", NO_SCHEDULE, false),
    ("node.kubernetes.io/pid-pressure", NO_SCHEDULE, false),
    ("node.kubernetes.io/unschedulable", NO_SCHEDULE, false),
    ("node.kubernetes.io/network-unavailable", NO_SCHEDULE, true),
];

impl Toleration {
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let effect = self.effect.is_empty() || self.effect == taint.effect;
        let key = self.key.is_empty() || self.key == taint.key;
        let value = match self.operator.as_str() {
            "" | "Equal" => self.value == taint.value,
            "Exists" => true,
            _ => false,
        };
        effect && key && value
    }
}

/// The first taint with one of the effects that none of the tolerations bears.
pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration], effects: &[&str]) -> Option<&'a Taint> {
    let matters = |taint: &&Taint| effects.contains(&taint.effect.as_str());
    taints.iter().filter(matters).find(|taint| !tolerations.iter().any(|toleration| toleration.tolerates(taint)))
}
