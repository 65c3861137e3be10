use serde_json::{Value, json};

use super::*;
use crate::GroupVersionKind;

fn resource(group: &str, kind: &str) -> &'static Resource {
    resources::of_kind(&GroupVersionKind::new(group, "v1", kind)).expect("a built-in kind")
}

fn daemonset(change: impl FnOnce(&mut Value)) -> Value {
    let template = json!({"metadata": {}, "spec": {"containers": [{"name": "c", "image": "i:1",
        "resources": {"limits": {"cpu": "1"}}}]}});
    let mut object = json!({"metadata": {"name": "d"}, "spec": {"template": template}, "status": {"numberReady": 7}});
    change(&mut object);
    object
}

#[test]
fn a_new_daemonset_starts_counting_and_has_no_status() {
    let mut object = daemonset(|object| object["metadata"]["generation"] = 40.into());
    prepare_for_create(resource("apps", "DaemonSet"), &mut object);
    assert_eq!(object["metadata"]["generation"], 1);
    assert_eq!(object["metadata"]["annotations"][TEMPLATE_GENERATION], "1");
    assert_eq!(object["status"]["numberReady"], 0);
}

#[test]
fn generations_follow_the_change() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut Value), expected: (i64, &str)) {
        let daemonsets = resource("apps", "DaemonSet");
        let mut old = daemonset(|_| {});
        prepare_for_create(daemonsets, &mut old);
        let mut new = old.clone();
        change(&mut new);
        prepare_for_update(daemonsets, None, &mut new, &old);
        let found = (meta::generation(&new), meta::annotation(&new, TEMPLATE_GENERATION).unwrap());
        assert_eq!(found, expected);
        assert_eq!(new["status"], old["status"]);
    }
    check(|_| {}, (1, "1"));
    check(|new| new["status"] = json!({"numberReady": 3}), (1, "1"));
    check(|new| new["metadata"] = json!({"name": "d", "generation": 9, "labels": {"a": "b"}}), (1, "1"));
    check(|new| new["metadata"]["annotations"] = json!({TEMPLATE_GENERATION: "40"}), (1, "1"));
    check(|new| new["spec"]["minReadySeconds"] = 3.into(), (2, "1"));
    check(|new| new["spec"]["template"]["spec"]["containers"][0]["image"] = "i:2".into(), (2, "2"));
    check(|new| new["spec"]["template"]["spec"]["tolerations"] = json!([]), (1, "1"));
    check(
        |new| new["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "1e0".into(),
        (1, "1"),
    );
}

#[test]
fn status_writes_touch_nothing_else() {
    let daemonsets = resource("apps", "DaemonSet");
    let mut old = daemonset(|_| {});
    prepare_for_create(daemonsets, &mut old);
    let mut new = old.clone();
    new["spec"]["minReadySeconds"] = 3.into();
    new["status"]["numberReady"] = 5.into();
    new["metadata"]["labels"] = json!({"a": "b"});
    prepare_for_update(daemonsets, Some("status"), &mut new, &old);
    assert_eq!(new["spec"], old["spec"]);
    assert_eq!((&new["status"]["numberReady"], &new["metadata"]["labels"]["a"]), (&json!(5), &json!("b")));
    assert_eq!(meta::generation(&new), 1);

    let pods = resource("", "Pod");
    let old =
        json!({"metadata": {"name": "p", "ownerReferences": [{"uid": "u"}]}, "status": {"qosClass": "Burstable"}});
    let mut new = json!({"metadata": {"name": "p"}, "status": {"phase": "Running"}});
    prepare_for_update(pods, Some("status"), &mut new, &old);
    assert_eq!(new["metadata"]["ownerReferences"], old["metadata"]["ownerReferences"]);
    assert_eq!(new["status"], json!({"phase": "Running", "qosClass": "Burstable"}));
}

#[test]
fn quality_of_service_follows_requests_and_limits() {
    #[track_caller]
    fn check(containers: &[Value], expected: &str) {
        let containers: Vec<_> = containers.iter().map(|resources| json!({"resources": resources})).collect();
        assert_eq!(qos_class(&json!({"spec": {"containers": containers}})), expected);
    }
    let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}});
    let half = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}});
    check(&[json!({})], "BestEffort");
    check(&[json!({"requests": {"cpu": "0"}})], "BestEffort");
    check(&[json!({"requests": {"example.com/gpu": "1"}})], "BestEffort");
    check(std::slice::from_ref(&full), "Guaranteed");
    check(&[full.clone(), json!({})], "Burstable");
    check(&[full, half], "Burstable");
    check(&[json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}})], "Burstable");
}

#[test]
fn fields_for_selectors() {
    let pod = json!({"spec": {"nodeName": "n", "hostNetwork": true}, "status": {"podIPs": [{"ip": "a"}, {"ip": "b"}]}});
    let fields = selectable_fields(resource("", "Pod"), &pod);
    let value = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    assert_eq!(value("spec.nodeName"), Some("n"));
    assert_eq!(value("status.phase"), Some(""));
    assert_eq!((value("spec.hostNetwork"), value("status.podIPs")), (Some("true"), Some("a,b")));
    assert_eq!(fields.len() + 2, known_field_labels(resource("", "Pod")).len());

    let event = json!({"involvedObject": {"name": "d"}, "source": {"component": "c"}});
    let fields = selectable_fields(resource("", "Event"), &event);
    assert!(fields.contains(&("regarding.name".into(), "d".into())) && fields.contains(&("source".into(), "c".into())));

    assert_eq!(unknown_field(resource("", "Pod"), "spec.foo"), "field label not supported: spec.foo");
    assert!(unknown_field(resource("apps", "DaemonSet"), "spec.foo").starts_with("\"spec.foo\" is not a known"));
}

#[test]
fn the_template_generation_must_be_a_number() {
    let annotated = |text: &str| json!({"metadata": {"annotations": {TEMPLATE_GENERATION: text}}});
    let daemonsets = resource("apps", "DaemonSet");
    assert_eq!(conversion_error(daemonsets, &annotated("4")), None);
    let expected = "strconv.ParseInt: parsing \"x\": invalid syntax";
    assert_eq!(conversion_error(daemonsets, &annotated("x")).as_deref(), Some(expected));
    assert_eq!(conversion_error(resource("apps", "Deployment"), &annotated("x")), None);
}
