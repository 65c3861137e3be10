use super::*;

#[test]
fn health_says_what_is_missing() {
    let condition = |kind: &str, status: bool| wire::RuntimeCondition {
        r#type: kind.into(),
        status,
        reason: "NetworkPluginNotReady".into(),
        message: "cni plugin not initialized".into(),
    };
    let seen = health(&wire::RuntimeStatus {
        conditions: vec![condition("RuntimeReady", true), condition("NetworkReady", false)],
    });
    assert_eq!(seen.runtime, Ok(()));
    let why = "container network not ready: NetworkPluginNotReady: cni plugin not initialized";
    assert_eq!(seen.network, Err(why.to_string()));
    assert!(health(&wire::RuntimeStatus::default()).runtime.is_err());
}

#[test]
fn the_network_of_a_sandbox() {
    let check = |info: &str, expected: Option<&str>| {
        let info = HashMap::from([("info".to_string(), info.to_string())]);
        assert_eq!(network_namespace(&info), expected.map(PathBuf::from), "{info:?}");
    };
    check(
        r#"{"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/run/netns/x"}]}}}"#,
        Some("/run/netns/x"),
    );
    check(r#"{"runtimeSpec":{"linux":{"namespaces":[{"type":"network"}]}}}"#, None);
    check("no JSON", None);
}

#[test]
fn timeouts_have_two_forms() {
    assert!(is_timeout(&Status::deadline_exceeded("x")));
    assert!(is_timeout(&Status::unknown(
        "failed to exec in container: timeout 1s exceeded: context deadline exceeded"
    )));
    assert!(!is_timeout(&Status::unknown("failed to exec in container: no such file")));
}
