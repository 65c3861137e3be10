//! When a pod must leave a node because of the node's `NoExecute` taints.
//!
//! Source: the taint eviction controller of `kube-controller-manager`.

use jiff::{SignedDuration, Timestamp};

use crate::scheduling::taints::{NO_EXECUTE, Taint, Toleration};

/// The time at which a pod with these tolerations must go; `None`: it may stay for good. `since` is when the taints
/// were first seen on the node.
pub fn evict_at(taints: &[Taint], tolerations: &[Toleration], since: Timestamp) -> Option<Timestamp> {
    let taints: Vec<&Taint> = taints.iter().filter(|taint| taint.effect == NO_EXECUTE).collect();
    if taints.is_empty() {
        return None;
    }
    let mut patience = None;
    for taint in taints {
        let mut bearing = tolerations.iter().filter(|toleration| toleration.tolerates(taint)).peekable();
        if bearing.peek().is_none() {
            return Some(since);
        }
        let shortest = bearing.filter_map(|toleration| toleration.toleration_seconds).min();
        patience = [patience, shortest].into_iter().flatten().min();
    }
    patience.map(|seconds| since.saturating_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(text: &str) -> Taint {
        let (key, effect) = text.split_once(':').expect("key:effect");
        Taint { key: key.into(), effect: effect.into(), ..Taint::default() }
    }

    fn toleration(text: &str) -> Toleration {
        let (key, seconds) = text.split_once('=').unwrap_or((text, ""));
        Toleration {
            key: key.into(),
            operator: "Exists".into(),
            toleration_seconds: seconds.parse().ok(),
            ..Toleration::default()
        }
    }

    fn check(taints: &[&str], tolerations: &[&str], expected: Option<i64>) {
        let taints: Vec<Taint> = taints.iter().map(|text| taint(text)).collect();
        let tolerations: Vec<Toleration> = tolerations.iter().map(|text| toleration(text)).collect();
        let found = evict_at(&taints, &tolerations, Timestamp::UNIX_EPOCH);
        assert_eq!(found.map(|at| at.as_second()), expected, "{taints:?} {tolerations:?}");
    }

    #[test]
    fn patience_is_the_shortest_of_what_bears_the_taints() {
        check(&[], &[], None);
        check(&["a:NoSchedule"], &[], None);
        check(&["a:NoExecute"], &[], Some(0));
        check(&["a:NoExecute"], &["b"], Some(0));
        check(&["a:NoExecute"], &["a"], None);
        check(&["a:NoExecute"], &["a=300"], Some(300));
        check(&["a:NoExecute"], &["a=300", "a=60"], Some(60));
        check(&["a:NoExecute", "b:NoExecute"], &["a=300", "b"], Some(300));
        check(&["a:NoExecute", "b:NoExecute"], &["a=300"], Some(0));
        check(&["a:NoExecute"], &["a=-5"], Some(0));
    }
}
