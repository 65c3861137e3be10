//! Who may do what, as whom, and the reviews that tell.

use crate::script::check;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Ann may do this in `default`.
fn ann_may(rules: &str) -> String {
    format!(
        r#"
        > POST {RBAC}/namespaces/default/roles {{"metadata":{{"name":"r"}},"rules":{rules}}}
        < 201
        > POST {RBAC}/namespaces/default/rolebindings {{"metadata":{{"name":"b"}},"roleRef":{{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"r"}},"subjects":[{{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"ann"}}]}}
        < 201
        "#
    )
}

#[tokio::test(start_paused = true)]
async fn names_limit_what_a_rule_allows() {
    let rules = r#"[{"verbs":["get","list","watch","create","update","delete","deletecollection"],"apiGroups":[""],"resources":["configmaps"],"resourceNames":["a"]}]"#;
    let maps = "/api/v1/namespaces/default/configmaps";
    check(&format!(
        r#"
        {}
        > POST {maps} {{"metadata":{{"name":"a"}}}}
        < 201
        > POST {maps} {{"metadata":{{"name":"b"}}}}
        < 201
        > @ann GET {maps}/a
        < 200
        > @ann GET {maps}/b
        < 403
        > @ann GET {maps}
        < 403
        > @ann GET {maps}?fieldSelector=metadata.name%3Da
        < 200 items.*.metadata.name=["a"]
        > @ann GET {maps}?fieldSelector=metadata.name%3Db
        < 403
        > @ann GET {maps}?fieldSelector=metadata.name!%3Db
        < 403
        > @ann GET {maps}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Da
        < 200 ADDED a
        > @ann GET /api/v1/watch/namespaces/default/configmaps/a?timeoutSeconds=1
        < 200 ADDED a
        > @ann GET /api/v1/watch/namespaces/default/configmaps/b?timeoutSeconds=1
        < 403
        > @ann POST {maps} {{"metadata":{{"name":"a"}}}}
        < 403 message="configmaps is forbidden: User \"ann\" cannot create resource \"configmaps\" in API group \"\" in the namespace \"default\""
        > @ann DELETE {maps}?fieldSelector=metadata.name%3Da
        < 403
        > @ann PUT {maps}/a {{"metadata":{{"name":"a"}},"data":{{"k":"v"}}}}
        < 200
        > @ann PUT {maps}/a {{"metadata":{{"name":"b"}}}}
        < 400
        > @ann DELETE {maps}/b
        < 403
        "#,
        ann_may(rules)
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn subresources_are_rights_of_their_own() {
    let rules = r#"[{"verbs":["*"],"apiGroups":[""],"resources":["pods/*"]},{"verbs":["get"],"apiGroups":["apps"],"resources":["*/scale"]}]"#;
    let pods = "/api/v1/namespaces/default/pods";
    check(&format!(
        r#"
        {}
        > POST {pods} {{"metadata":{{"name":"p"}},"spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}
        < 201
        > @ann GET {pods}/p
        < 403
        > @ann GET {pods}/p/status
        < 403 message~pods/status
        > @ann GET /apis/apps/v1/namespaces/default/deployments/d/scale
        < 404 reason="NotFound"
        > @ann GET /apis/apps/v1/namespaces/default/deployments/d
        < 403
        "#,
        ann_may(rules)
    ))
    .await;
}

/// `PUT` and apply may make objects; the right to change them is not enough for that.
#[tokio::test(start_paused = true)]
async fn an_update_that_creates_takes_the_right_to_create() {
    let rules = r#"[{"verbs":["get","update","patch"],"apiGroups":["","coordination.k8s.io"],"resources":["configmaps","leases"]}]"#;
    let maps = "/api/v1/namespaces/default/configmaps";
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    check(&format!(
        r#"
        {}
        > @ann PATCH {maps}/a?fieldManager=m [apply]{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a"}}}}
        < 403 message~cannot
        > GET {maps}/a
        < 404
        > @ann PUT {leases}/l {{"metadata":{{"name":"l"}}}}
        < 403 message~create
        > POST {maps} {{"metadata":{{"name":"a"}}}}
        < 201
        > @ann PATCH {maps}/a?fieldManager=m [apply]{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a"}},"data":{{"k":"v"}}}}
        < 200 data.k="v"
        "#,
        ann_may(rules)
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_grants_what_they_do_not_have() {
    let rules = r#"[{"verbs":["*"],"apiGroups":["rbac.authorization.k8s.io"],"resources":["roles","rolebindings"],"resourceNames":["own"]},{"verbs":["create","get"],"apiGroups":["rbac.authorization.k8s.io"],"resources":["roles","rolebindings"]},{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}]"#;
    let place = format!("{RBAC}/namespaces/default");
    let held = r#"[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}]"#;
    let more = r#"[{"verbs":["get","list"],"apiGroups":[""],"resources":["pods","secrets"]}]"#;
    let bind = |name: &str, kind: &str, role: &str| {
        format!(
            r#"{{"metadata":{{"name":"{name}"}},"roleRef":{{"apiGroup":"rbac.authorization.k8s.io","kind":"{kind}","name":"{role}"}},"subjects":[{{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"eve"}}]}}"#
        )
    };
    check(&format!(
        r#"
        {}
        > @ann POST {place}/roles {{"metadata":{{"name":"fine"}},"rules":{held}}}
        < 201
        > @ann POST {place}/roles {{"metadata":{{"name":"more"}},"rules":{more}}}
        < 403 reason="Forbidden" message="roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"ann\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}}\n{{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}}"
        > @ann POST {place}/rolebindings {}
        < 201
        > @ann POST {place}/rolebindings {}
        < 403 message~held
        > @ann POST {place}/rolebindings {}
        < 404 message="role.rbac.authorization.k8s.io \"no\" not found"
        > POST {place}/roles {{"metadata":{{"name":"own"}},"rules":[]}}
        < 201
        > @ann PATCH {place}/roles/own [merge]{{"rules":{more}}}
        < 200
        > @ann POST {place}/rolebindings {}
        < 201
        > @ann PATCH {place}/roles/fine [merge]{{"rules":{more}}}
        < 403 message~cannot
        "#,
        ann_may(rules),
        bind("a", "Role", "fine"),
        bind("b", "ClusterRole", "cluster-admin"),
        bind("c", "Role", "no"),
        bind("d", "Role", "own"),
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn acting_as_somebody_else_takes_a_right_for_every_part() {
    let rules = |resource: &str, group: &str| {
        format!(r#"{{"verbs":["impersonate"],"apiGroups":["{group}"],"resources":["{resource}"]}}"#)
    };
    let role = |name: &str, rules: &[String]| {
        format!(
            r#"
            > POST {RBAC}/clusterroles {{"metadata":{{"name":"{name}"}},"rules":[{}]}}
            < 201
            > POST {RBAC}/clusterrolebindings {{"metadata":{{"name":"{name}"}},"roleRef":{{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"{name}"}},"subjects":[{{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"{name}"}}]}}
            < 201
            "#,
            rules.join(",")
        )
    };
    let all = [
        rules("users", ""),
        rules("groups", ""),
        rules("serviceaccounts", ""),
        rules("uids", "authentication.k8s.io"),
        rules("userextras/scope", "authentication.k8s.io"),
    ];
    let who = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews {}";
    check(&format!(
        r#"
        {}{}
        > @all !impersonate-user=bob !impersonate-group=dev !impersonate-uid=7 !impersonate-extra-scope=x {who}
        < 201 status.userInfo={{"username":"bob","uid":"7","groups":["dev","system:authenticated"],"extra":{{"scope":["x"]}}}}
        > @all !impersonate-user=bob !impersonate-extra-other=x {who}
        < 403 message~userextras/other
        > @all !impersonate-user=system:serviceaccount:default:default {who}
        < 201 status.userInfo.groups=["system:serviceaccounts","system:serviceaccounts:default","system:authenticated"]
        > @some !impersonate-user=bob {who}
        < 201 status.userInfo.username="bob"
        > @some !impersonate-user=bob !impersonate-group=system:masters {who}
        < 403 message="groups \"system:masters\" is forbidden: User \"some\" cannot impersonate resource \"groups\" in API group \"\" at the cluster scope"
        > @some !impersonate-user=bob !impersonate-uid=7 {who}
        < 403 message~uids
        > @some !impersonate-user=system:serviceaccount:default:default {who}
        < 403 message~serviceaccounts
        > @some !impersonate-group=dev {who}
        < 400
        > @- !impersonate-user=bob GET /readyz
        < 403 message~system:anonymous
        > !impersonate-user=bob GET /api/v1/namespaces/default/secrets
        < 403 message~bob
        > !impersonate-user=bob !impersonate-group=system:masters GET /api/v1/namespaces/default/secrets
        < 200
        "#,
        role("all", &all),
        role("some", &all[..1]),
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn reviews_answer_what_would_happen() {
    let rules = r#"[{"verbs":["get"],"apiGroups":[""],"resources":["pods","pods/log"]}]"#;
    let ask = |verb: &str, rest: &str| {
        format!(
            r#"{{"spec":{{"resourceAttributes":{{"namespace":"default","verb":"{verb}","resource":"pods"{rest}}}}}}}"#
        )
    };
    let own = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let by = r#"status={"allowed":true,"reason":"RBAC: allowed by RoleBinding \"b/default\" of Role \"r\" to User \"ann\""}"#;
    check(&format!(
        r#"
        {}
        > @ann POST {own} {}
        < 201 {by}
        > @ann POST {own} {}
        < 201 status={{"allowed":false}}
        > @ann POST {own} {}
        < 201 {by}
        > @ann POST {local} {{"spec":{{"user":"ann","resourceAttributes":{{"namespace":"default","verb":"get","resource":"pods"}}}}}}
        < 403
        > POST {local} {{"spec":{{"user":"ann","resourceAttributes":{{"namespace":"default","verb":"get","resource":"pods"}}}}}}
        < 201 {by}
        > POST {local} {{"spec":{{"user":"ann","resourceAttributes":{{"namespace":"other","verb":"get","resource":"pods"}}}}}}
        < 422
        > @ann POST /apis/authorization.k8s.io/v1/subjectaccessreviews {{"spec":{{"user":"bob","resourceAttributes":{{"verb":"get","resource":"pods"}}}}}}
        < 403
        > @ann POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews {{"spec":{{"namespace":"default"}}}}
        < 201 status.incomplete=false status.resourceRules.2={{"verbs":["get"],"apiGroups":[""],"resources":["pods","pods/log"]}}
        > @ann GET {own}
        < 403
        > GET {own}
        < 405
        "#,
        ann_may(rules),
        ask("get", ""),
        ask("list", ""),
        ask("get", r#","subresource":"log""#),
    ))
    .await;
}
