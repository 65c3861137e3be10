//! Whether a node takes a pod at all; decided once for each pod, before anything is made of it.
//!
//! Source of order, exceptions and words: the kubelet's admit handlers.

use backstay_api::meta;
use serde_json::Value;

use crate::pod_inputs::{sandbox, security, sysctls};
use crate::pressure::{CRITICAL, EVICTED, Pressure};
use crate::runtime::Qos;

/// What a node has to say to newcomers.
pub(crate) struct Ground<'a> {
    /// What it is short of now, as its conditions say.
    pub(crate) pressures: &'a [Pressure],
    /// Sysctls that pods may have besides the safe ones.
    pub(crate) sysctls_allowed: &'a [String],
    pub(crate) has_apparmor: bool,
    /// The machine is being switched off.
    pub(crate) shutting_down: bool,
}

/// Why a pod is not taken: as the reason of its status and of an event, and in the words of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) reason: &'static str,
    pub(crate) why: String,
}

/// Judges a pod.
///
/// # Errors
/// The first reason not to take it.
pub(crate) fn check(pod: &Value, ground: &Ground<'_>) -> Result<(), Rejection> {
    let because = |reason| move |why| Rejection { reason, why };
    check_pressures(pod, ground.pressures).map_err(because(EVICTED))?;
    sysctls::check(pod, ground.sysctls_allowed).map_err(because(sysctls::FORBIDDEN))?;
    security::check_apparmor(pod, ground.has_apparmor).map_err(because(security::APPARMOR))?;
    if ground.shutting_down {
        return Err(because("NodeShutdown")("Pod was rejected as the node is shutting down.".to_string()));
    }
    Ok(())
}

/// A node that runs short takes critical pods only; short of nothing but memory, also those that say how much they need,
/// or that tolerate it. Pods of DaemonSets tolerate the taints that keep others away, so that this is what they meet.
fn check_pressures(pod: &Value, pressures: &[Pressure]) -> Result<(), String> {
    let is_critical = meta::int_at(pod, &["spec", "priority"]).is_some_and(|priority| priority >= CRITICAL);
    let bears_memory = || sandbox::qos(pod) != Qos::BestEffort || tolerates_memory_pressure(pod);
    if pressures.is_empty() || is_critical || (pressures == [Pressure::Memory] && bears_memory()) {
        return Ok(());
    }
    let conditions: Vec<&str> = pressures.iter().map(|pressure| pressure.condition()).collect();
    // The kubelet's sentences end with a space.
    Err(format!("The node had condition: [{}]. ", conditions.join(" ")))
}

/// Of the taint `node.kubernetes.io/memory-pressure:NoSchedule`, which has no value.
fn tolerates_memory_pressure(pod: &Value) -> bool {
    let tolerates = |toleration: &Value| {
        let text = |field: &str| meta::str_at(toleration, &[field]);
        let bears_value = match text("operator") {
            "" | "Equal" => text("value").is_empty(),
            operator => operator == "Exists",
        };
        matches!(text("key"), "" | "node.kubernetes.io/memory-pressure")
            && matches!(text("effect"), "" | "NoSchedule")
            && bears_value
    };
    meta::list_at(pod, &["spec", "tolerations"]).iter().any(tolerates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn why(pod: &Value, pressures: &[Pressure]) -> Option<String> {
        let rejection =
            check(pod, &Ground { pressures, sysctls_allowed: &[], has_apparmor: true, shutting_down: false }).err()?;
        assert_eq!(rejection.reason, "Evicted");
        Some(rejection.why)
    }

    #[test]
    fn who_is_taken_by_a_node_that_runs_short() {
        use Pressure::{Disk, Memory, Pid};
        let all = [&[][..], &[Memory], &[Disk], &[Pid], &[Memory, Disk, Pid]];
        let pod = |qos: &str, priority: i64, tolerations: Value| json!({ "spec": { "priority": priority, "tolerations": tolerations }, "status": { "qosClass": qos } });
        let own = |key: &str| json!([{ "key": key, "operator": "Exists", "effect": "NoSchedule" }]);
        let memory = own("node.kubernetes.io/memory-pressure");
        for (pod, taken) in [
            (pod("BestEffort", 0, json!([])), [true, false, false, false, false]),
            (pod("BestEffort", 1_999_999_999, json!([])), [true, false, false, false, false]),
            (pod("BestEffort", 2_000_000_000, json!([])), [true; 5]),
            (pod("Burstable", 0, json!([])), [true, true, false, false, false]),
            (pod("Guaranteed", 0, json!([])), [true, true, false, false, false]),
            (pod("BestEffort", 0, memory), [true, true, false, false, false]),
            (pod("BestEffort", 0, json!([{ "operator": "Exists" }])), [true, true, false, false, false]),
            (pod("BestEffort", 0, own("node.kubernetes.io/disk-pressure")), [true, false, false, false, false]),
            (
                pod("BestEffort", 0, json!([{ "key": "node.kubernetes.io/memory-pressure", "value": "v" }])),
                [true, false, false, false, false],
            ),
            (
                pod("BestEffort", 0, json!([{ "operator": "Exists", "effect": "NoExecute" }])),
                [true, false, false, false, false],
            ),
        ] {
            assert_eq!(all.map(|pressures| why(&pod, pressures).is_none()), taken, "{pod}");
        }
    }

    #[test]
    fn what_it_is_told() {
        for (pressures, expected) in [
            (&[Pressure::Disk][..], "The node had condition: [DiskPressure]. "),
            (&[Pressure::Memory, Pressure::Pid], "The node had condition: [MemoryPressure PIDPressure]. "),
        ] {
            assert_eq!(why(&json!({}), pressures).as_deref(), Some(expected));
        }
    }

    #[test]
    fn pressure_comes_before_what_the_pod_asks_for() {
        let pod = json!({ "spec": { "securityContext": {
            "sysctls": [{ "name": "kernel.msgmax", "value": "1" }], "appArmorProfile": { "type": "RuntimeDefault" },
        }, "containers": [{}] } });
        let reason = |pressures: &[Pressure], sysctls: &[String], has_apparmor| {
            let ground = Ground { pressures, sysctls_allowed: sysctls, has_apparmor, shutting_down: true };
            check(&pod, &ground).err().map(|rejection| rejection.reason)
        };
        let allowed = ["kernel.msg*".to_string()];
        assert_eq!(reason(&[Pressure::Disk], &[], false), Some("Evicted"));
        assert_eq!(reason(&[], &[], false), Some("SysctlForbidden"));
        assert_eq!(reason(&[], &allowed, false), Some("AppArmor"));
        assert_eq!(reason(&[], &allowed, true), Some("NodeShutdown"));
    }
}
