use backstay_api::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::reviews::answer;
use super::testing::{binding, role, store_of};
use super::*;
use crate::UserInfo;
use backstay_store::Store;

fn index() -> RuleIndex {
    let mut objects = crate::bootstrap::all();
    objects.push(role(
        "d",
        "r",
        json!({}),
        json!([{"verbs": ["patch"], "apiGroups": ["apps"], "resources": ["daemonsets"]}]),
    ));
    objects.push(binding("d", "b", "Role/r", &["User/ann"]));
    RuleIndex::build(&*store_of(&objects).snapshot())
}

fn ask(user: &UserInfo, namespace: &str, kind: &str, spec: Value) -> Result<Value, backstay_api::Status> {
    let mut review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec});
    if kind == "LocalSubjectAccessReview" {
        meta::set_meta(&mut review, "namespace", namespace);
    }
    answer(&index(), user, namespace, Timestamp::UNIX_EPOCH, &review).expect("a review")
}

fn check(user: &str, kind: &str, spec: Value, expected: &str) {
    let user = UserInfo::new(user, &[]);
    let seen = match ask(&user, "d", kind, spec.clone()) {
        Ok(answer) => {
            assert_eq!((&answer["spec"], &answer["kind"]), (&spec, &json!(kind)), "the question is repeated");
            answer["status"].to_string()
        }
        Err(status) => format!("{} {}", status.code(), status.message()),
    };
    assert_eq!(seen, expected, "{kind} {spec}");
}

fn patch(namespace: &str) -> Value {
    json!({"namespace": namespace, "verb": "patch", "group": "apps", "resource": "daemonsets"})
}

const BY_B: &str = r#"{"allowed":true,"reason":"RBAC: allowed by RoleBinding \"b/d\" of Role \"r\" to User \"ann\""}"#;
const NO: &str = r#"{"allowed":false}"#;

#[test]
fn what_may_i() {
    let kind = "SelfSubjectAccessReview";
    check("ann", kind, json!({"resourceAttributes": patch("d")}), BY_B);
    check("ann", kind, json!({"resourceAttributes": patch("e")}), NO);
    check("bob", kind, json!({"resourceAttributes": patch("d")}), NO);
    check("bob", kind, json!({"nonResourceAttributes": {"path": "/metrics", "verb": "get"}}), NO);
    check(
        "ann",
        kind,
        json!({}),
        "422 .authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of \
         nonResourceAttributes or resourceAttributes must be specified",
    );
}

#[test]
fn what_may_they() {
    let kind = "SubjectAccessReview";
    check("root", kind, json!({"resourceAttributes": patch("d"), "user": "ann"}), BY_B);
    check("ann", kind, json!({"resourceAttributes": patch("d"), "user": "nobody"}), NO);
    let masters = json!({"resourceAttributes": patch("x"), "groups": ["system:masters"]});
    check("ann", kind, masters, r#"{"allowed":true}"#);
    check(
        "root",
        kind,
        json!({"resourceAttributes": patch("d")}),
        "422 .authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": at least one of user or group must \
         be specified",
    );
    let local = "LocalSubjectAccessReview";
    check("root", local, json!({"resourceAttributes": patch("d"), "user": "ann"}), BY_B);
    check(
        "root",
        local,
        json!({"resourceAttributes": patch("e"), "user": "ann"}),
        "422 .authorization.k8s.io \"\" is invalid: spec.resourceAttributes.namespace: Invalid value: \"e\": must match \
         metadata.namespace",
    );
}

#[test]
fn which_rules_hold_for_me() {
    let user = UserInfo::new("nobody", &[]);
    let answer = ask(&user, "", "SelfSubjectRulesReview", json!({"namespace": "d"})).expect("an answer");
    let rules = answer["status"]["resourceRules"].as_array().expect("rules");
    let resources: Vec<_> = rules.iter().map(|rule| rule["resources"].clone()).collect();
    assert_eq!(
        resources,
        [json!(["selfsubjectaccessreviews", "selfsubjectrulesreviews"]), json!(["selfsubjectreviews"])]
    );
    assert_eq!(answer["status"]["incomplete"], false);
    assert!(answer["status"]["nonResourceRules"].to_string().contains("/apis/*"));
    let nowhere = ask(&user, "", "SelfSubjectRulesReview", json!({}));
    assert_eq!(nowhere.expect_err("no namespace").message(), "no namespace on request");
}

#[test]
fn who_am_i() {
    let user = UserInfo { uid: "7".into(), ..UserInfo::new("ann", &["dev"]) };
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = answer(&index(), &user, "", Timestamp::UNIX_EPOCH, &review).expect("a review").expect("an answer");
    let expected = json!({"username": "ann", "uid": "7", "groups": ["dev", "system:authenticated"]});
    assert_eq!(answer["status"]["userInfo"], expected);
    assert_eq!(answer["metadata"]["creationTimestamp"], "1970-01-01T00:00:00Z");
}
