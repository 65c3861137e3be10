use std::sync::Arc;

use backstay_store::{MemoryStore, Store};
use serde_json::{Value, json};

use super::testing::{binding, put, role, store_of};
use super::*;
use crate::UserInfo;

/// A user by name, with `+group`s.
fn user(text: &str) -> UserInfo {
    let mut words = text.split('+');
    let name = words.next().unwrap_or_default();
    UserInfo::new(name, &words.collect::<Vec<_>>())
}

/// Decides `who verb namespace group resource [name]` or `who verb /path`; `-` is empty.
fn decide(index: &RuleIndex, request: &str) -> Decision {
    let words: Vec<&str> = request.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
    let who = user(words[0]);
    let action = match words[2..] {
        [path] => Action::Path(path),
        [namespace, group, resource, ..] => {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let name = words.get(5).copied().unwrap_or_default();
            Action::Resource(Resource { group, resource, subresource, namespace, name })
        }
        _ => panic!("no request: {request}"),
    };
    index.authorize(&Attributes { user: &who, verb: words[1], action })
}

fn check(index: &RuleIndex, request: &str, expected: &str) {
    let decision = decide(index, request);
    let seen = format!("{} {}", if decision.allowed { "yes" } else { "no" }, decision.reason);
    assert_eq!(seen.trim(), expected, "{request}");
}

fn index(store: &MemoryStore) -> RuleIndex {
    RuleIndex::build(&*store.snapshot())
}

fn reader(namespace: &str, name: &str) -> Value {
    let rules = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]}]);
    role(namespace, name, json!({}), rules)
}

#[test]
fn bindings_give_rights_where_they_stand() {
    let store = store_of(&[
        reader("d", "r"),
        reader("", "cr"),
        binding(
            "d",
            "b",
            "Role/r",
            &["User/ann", "Group/team", "ServiceAccount/bot", "ServiceAccount/e/bot", "Robot/x"],
        ),
        binding("e", "b", "ClusterRole/cr", &["User/ann"]),
        binding("", "all", "ClusterRole/cr", &["User/root", "ServiceAccount/d/far"]),
    ]);
    let index = index(&store);
    let by = |text: &str| format!("yes RBAC: allowed by {text}");
    check(&index, "ann get d - configmaps", &by(r#"RoleBinding "b/d" of Role "r" to User "ann""#));
    check(&index, "ann get e - configmaps", &by(r#"RoleBinding "b/e" of ClusterRole "cr" to User "ann""#));
    check(&index, "ann get f - configmaps", "no");
    check(&index, "ann get - - configmaps", "no");
    check(&index, "ann delete d - configmaps", "no");
    check(&index, "eve+team list d - configmaps", &by(r#"RoleBinding "b/d" of Role "r" to Group "team""#));
    check(
        &index,
        "system:serviceaccount:d:bot get d - configmaps",
        &by(r#"RoleBinding "b/d" of Role "r" to ServiceAccount "bot/d""#),
    );
    check(
        &index,
        "system:serviceaccount:e:bot get d - configmaps",
        &by(r#"RoleBinding "b/d" of Role "r" to ServiceAccount "bot/e""#),
    );
    check(&index, "x get d - configmaps", "no");
    let everywhere = by(r#"ClusterRoleBinding "all" of ClusterRole "cr" to User "root""#);
    check(&index, "root get - - configmaps", &everywhere);
    check(&index, "root get any - configmaps", &everywhere);
    check(&index, "nobody+system:masters delete - apps daemonsets", "yes");
    check(&index, "nobody+system:masters get /metrics", "yes");
}

#[test]
fn missing_roles_are_reported() {
    let store = store_of(&[
        binding("d", "a", "Role/gone", &["User/ann"]),
        binding("d", "b", "ClusterRole/gone", &["User/ann"]),
        binding("d", "c", "Role/gone", &["User/ann"]),
        binding("", "other", "ClusterRole/lost", &["User/bob"]),
    ]);
    let index = index(&store);
    let (role, cluster) = ("role.rbac.authorization.k8s.io", "clusterrole.rbac.authorization.k8s.io");
    check(&index, "ann get d - pods", &format!(r#"no RBAC: [{role} "gone" not found, {cluster} "gone" not found]"#));
    check(&index, "bob get d - pods", &format!(r#"no RBAC: {cluster} "lost" not found"#));
    check(&index, "eve get d - pods", "no");
}

#[test]
fn aggregation_gathers_what_it_selects() {
    let select = |label: &str| json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
    let aggregating = |name: &str, labels: Value, label: &str| {
        let stale = json!([{"verbs": ["delete"], "apiGroups": ["*"], "resources": ["*"]}]);
        let mut role = role("", name, labels, stale);
        role["aggregationRule"] = select(label);
        role
    };
    let store = store_of(&[
        aggregating("top", json!({"low": "true"}), "mid"),
        aggregating("middle", json!({"mid": "true"}), "low"),
        role("", "leaf", json!({"low": "true"}), json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}])),
        binding("", "t", "ClusterRole/top", &["User/ann"]),
    ]);
    assert!(decide(&index(&store), "ann get d - pods").allowed, "through two roles, in a circle");
    check(&index(&store), "ann delete d - pods", "no");
    put(
        &store,
        &role(
            "",
            "more",
            json!({"low": "true"}),
            json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}]),
        ),
    );
    assert!(decide(&index(&store), "ann list d - pods").allowed, "a new role counts at once");
}

#[test]
fn default_roles() {
    let index = index(&store_of(&crate::bootstrap::all()));
    let yes = |request: &str| assert!(decide(&index, request).allowed, "{request}");
    let no = |request: &str| check(&index, request, "no");
    yes("ann create - authorization.k8s.io selfsubjectaccessreviews");
    yes("ann get /apis/apps/v1");
    no("ann get d - pods");
    let anonymous = UserInfo::anonymous();
    let path = |path| Attributes { user: &anonymous, verb: "get", action: Action::Path(path) };
    for (to, allowed) in [("/readyz", true), ("/livez", true), ("/healthz", true), ("/readyz/ping", false)] {
        assert_eq!(index.authorize(&path(to)).allowed, allowed, "{to}");
    }
    for to in ["/apis", "/api", "/version", "/metrics", "/openapi/v2", "/", "/openid/v1/jwks"] {
        assert!(!index.authorize(&path(to)).allowed, "{to}");
    }
    yes("ann get /version");
    yes("system:kube-scheduler create d - pods/binding p");
    yes("system:serviceaccount:kube-system:daemon-set-controller update d apps daemonsets/status");
    no("system:serviceaccount:kube-system:daemon-set-controller get d - secrets");
    no("system:node:n1+system:nodes list d - secrets");
}

#[test]
fn admin_holds_what_edit_and_view_hold() {
    let mut objects = crate::bootstrap::all();
    for name in ["admin", "edit", "view"] {
        objects.push(binding("d", name, &format!("ClusterRole/{name}"), &[&format!("User/{name}")]));
    }
    let index = index(&store_of(&objects));
    for (request, admin, edit, view) in [
        ("list d - pods", true, true, true),
        ("get d apps controllerrevisions", true, true, true),
        ("get d - secrets", true, true, false),
        ("patch d apps daemonsets", true, true, false),
        ("create d rbac.authorization.k8s.io rolebindings", true, false, false),
        ("patch e apps daemonsets", false, false, false),
        ("delete - - nodes", false, false, false),
    ] {
        for (name, expected) in [("admin", admin), ("edit", edit), ("view", view)] {
            assert_eq!(decide(&index, &format!("{name} {request}")).allowed, expected, "{name} {request}");
        }
    }
}

#[test]
fn the_authorizer_follows_the_objects() {
    let store = Arc::new(store_of(&[reader("d", "r")]));
    let authorizer = Authorizer::new(store.clone());
    let allowed = || decide(&authorizer.rules(), "ann get d - configmaps").allowed;
    assert!(!allowed());
    let before = authorizer.rules();
    put(&store, &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "d"}}));
    assert!(Arc::ptr_eq(&before, &authorizer.rules()), "other objects change nothing");
    put(&store, &binding("d", "b", "Role/r", &["User/ann"]));
    assert!(allowed(), "a binding counts as soon as it is written");
    put(&store, &binding("d", "b", "Role/r", &["User/bob"]));
    assert!(!allowed());
    futures::executor::block_on(store.compact(store.snapshot().revision())).expect("compact");
    put(&store, &binding("d", "b", "Role/r", &["User/ann"]));
    assert!(allowed(), "also after compaction");
}

#[test]
fn escalation() {
    let mut objects = vec![
        role(
            "d",
            "grantor",
            json!({}),
            json!([
                {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]},
                {"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "resourceNames": ["nothing"]},
            ]),
        ),
        binding("d", "b", "Role/grantor", &["User/ann"]),
        role(
            "",
            "escalate",
            json!({}),
            json!([
                {"verbs": ["escalate", "bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"]},
            ]),
        ),
        binding("", "e", "ClusterRole/escalate", &["User/boss"]),
    ];
    objects.push(role("d", "big", json!({}), json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}])));
    let index = index(&store_of(&objects));
    let check = |who: &str, object: &Value, old: Option<&Value>, expected: &str| {
        let result = escalation::check(&index, &user(who), object, old);
        let seen = result.map_or_else(|status| format!("{} {}", status.code(), status.message()), |()| "ok".into());
        assert_eq!(seen, expected);
    };
    check("ann", &reader("d", "same"), None, "ok");
    let more = role(
        "d",
        "more",
        json!({}),
        json!([
            {"verbs": ["get", "delete", "list", "watch"], "apiGroups": [""], "resources": ["configmaps"]},
        ]),
    );
    let missing = "user \"ann\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not \
                   currently held:\n{APIGroups:[\"\"], Resources:[\"configmaps\"], Verbs:[\"delete\" \"watch\"]}";
    let refusal = format!("403 roles.rbac.authorization.k8s.io \"more\" is forbidden: {missing}");
    check("ann", &more, None, &refusal);
    check("boss", &more, None, "ok");
    check("root+system:masters", &more, None, "ok");
    let mut released = more.clone();
    released["metadata"]["finalizers"] = json!(["x"]);
    check("ann", &released, Some(&more), "ok");
    let missing = "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}";
    let result = escalation::check(&index, &user("ann"), &binding("d", "n", "Role/big", &["User/eve"]), None);
    assert!(result.expect_err("too much").message().ends_with(missing));
    check("ann", &binding("d", "n", "Role/grantor", &["User/eve"]), None, "ok");
    check("boss", &binding("d", "n", "Role/big", &["User/eve"]), None, "ok");
    check(
        "ann",
        &binding("d", "n", "Role/no", &["User/eve"]),
        None,
        "404 role.rbac.authorization.k8s.io \"no\" not found",
    );
    check("ann", &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}), None, "ok");
    // What takes a moment to write down must not take forever to compare.
    let words = |letter: char| (0..3_000).map(|number| format!("{letter}{number}")).collect::<Vec<_>>();
    let wide =
        json!([{"verbs": words('v'), "apiGroups": words('g'), "resources": words('r'), "resourceNames": words('n')}]);
    let wide = role("d", "wide", json!({}), wide);
    let refused = escalation::check(&index, &user("ann"), &wide, None).expect_err("too much");
    assert!(refused.code() == 403 && refused.message().contains("too many to compare"), "{}", refused.message());
}
