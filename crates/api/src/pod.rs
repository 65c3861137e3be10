//! What several parts need to know of a pod: its containers, and when they are started again.

use serde_json::Value;

use crate::meta;

/// The lists of containers in a pod's spec, in the order in which Kubernetes visits them.
pub const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// All containers of a pod.
pub fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    CONTAINERS.into_iter().flat_map(move |list| meta::list_at(pod, &["spec", list]))
}

/// Those that it was made with: all but the ephemeral ones, which can neither have resources nor ports.
pub fn own_containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().flat_map(move |list| meta::list_at(pod, &["spec", list]))
}

/// When a container is started again after it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarts {
    policy: Policy,
    rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Always,
    OnFailure,
    Never,
}

/// Says to start it again after these exit codes, or after all others, whatever the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    is_negated: bool,
    exit_codes: Vec<i64>,
}

impl Restarts {
    /// `policy`: the pod's, for containers that have none of their own.
    pub fn of(container: &Value, policy: &str) -> Self {
        let own = meta::str_at(container, &["restartPolicy"]);
        let policy = match if own.is_empty() { policy } else { own } {
            "OnFailure" => Policy::OnFailure,
            "Never" => Policy::Never,
            _ => Policy::Always,
        };
        let rules = meta::list_at(container, &["restartPolicyRules"]).iter();
        let rules = rules.map(|rule| Rule {
            is_negated: meta::str_at(rule, &["exitCodes", "operator"]) == "NotIn",
            exit_codes: meta::list_at(rule, &["exitCodes", "values"]).iter().filter_map(Value::as_i64).collect(),
        });
        Self { policy, rules: rules.collect() }
    }

    pub fn after(&self, exit_code: i64) -> bool {
        let by_policy = match self.policy {
            Policy::Always => true,
            Policy::OnFailure => exit_code != 0,
            Policy::Never => false,
        };
        by_policy || self.rules.iter().any(|rule| rule.exit_codes.contains(&exit_code) != rule.is_negated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_of_all_kinds() {
        let named = |name: &str| json!([{ "name": name }]);
        let pod = json!({ "spec": {
            "containers": named("b"), "ephemeralContainers": named("c"), "initContainers": named("a") } });
        fn names<'a>(all: impl Iterator<Item = &'a Value>) -> String {
            all.map(|container| meta::str_at(container, &["name"])).collect()
        }
        assert_eq!(names(containers(&pod)), "abc");
        assert_eq!(names(own_containers(&pod)), "ab");
        assert_eq!(containers(&json!({})).count(), 0);
    }

    /// `expected`: the exit codes among 0, 1 and 42 after which it is started again.
    #[test]
    fn when_a_container_is_started_again() {
        let check = |container: Value, policy: &str, expected: &[i64]| {
            let restarts = Restarts::of(&container, policy);
            let seen: Vec<i64> = [0, 1, 42].into_iter().filter(|code| restarts.after(*code)).collect();
            assert_eq!(seen, expected, "{container} {policy}");
        };
        check(json!({}), "Always", &[0, 1, 42]);
        check(json!({}), "", &[0, 1, 42]);
        check(json!({}), "OnFailure", &[1, 42]);
        check(json!({}), "Never", &[]);
        check(json!({ "restartPolicy": "Never" }), "Always", &[]);
        check(json!({ "restartPolicy": "Always" }), "Never", &[0, 1, 42]);
        let ruled = |policy: &str, operator: &str| {
            let exit_codes = json!({ "operator": operator, "values": [42, 43] });
            json!({ "restartPolicy": policy, "restartPolicyRules": [{ "action": "Restart", "exitCodes": exit_codes }] })
        };
        check(ruled("Never", "In"), "Always", &[42]);
        check(ruled("Never", "NotIn"), "Always", &[0, 1]);
        check(ruled("OnFailure", "NotIn"), "Never", &[0, 1, 42]);
        check(ruled("OnFailure", "In"), "Never", &[1, 42]);
    }
}
