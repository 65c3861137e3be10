//! Stores with RBAC objects in them, for tests.

use std::sync::Arc;

use backstay_api::{Clock, Entropy, Index, Pairs, meta, resources};
use backstay_store::{Encoded, Key, MemoryStore, Operation, Store};
use bytes::Bytes;
use serde_json::{Value, json};

/// A store that holds these objects.
pub fn store_of(objects: &[Value]) -> MemoryStore {
    let store = MemoryStore::new();
    objects.iter().for_each(|object| put(&store, object));
    store
}

/// Creates an object, or replaces it.
pub fn put(store: &MemoryStore, object: &Value) {
    let gvk = meta::gvk(object).expect("a kind");
    let resource = resources::of_kind(&gvk).expect("a built-in kind");
    let key = Key::new(&resource.storage, meta::namespace(object).unwrap_or_default(), meta::name(object));
    let operation = match store.snapshot().get(&key) {
        None => Operation::Create { value: encoded(object) },
        Some(entry) => Operation::Update { value: encoded(object), expected: entry.revision },
    };
    futures::executor::block_on(store.commit(key, operation)).expect("a memory store");
}

pub fn encoded(object: &Value) -> Encoded {
    const MARK: &str = "the-resource-version";
    let mut object = object.clone();
    meta::set_meta(&mut object, "resourceVersion", MARK);
    let text = object.to_string();
    let (head, tail) = text.split_once(MARK).expect("just set");
    let index = Index { labels: Pairs::from(&meta::labels(&object)), ..Index::default() };
    Encoded { head: Bytes::from(head.to_string()), tail: Bytes::from(tail.to_string()), index: Arc::new(index) }
}

pub fn clock() -> Clock {
    Clock::new(|| jiff::Timestamp::UNIX_EPOCH)
}

pub fn entropy() -> Entropy {
    let next = std::sync::atomic::AtomicU64::new(1);
    Entropy::new(move || next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

/// A role (a ClusterRole if the namespace is empty) with these rules.
pub fn role(namespace: &str, name: &str, labels: Value, rules: Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": {"namespace": namespace, "name": name, "labels": labels}, "rules": rules,
    })
}

/// A binding (a ClusterRoleBinding if the namespace is empty) of `Kind/role` to subjects `Kind/[namespace/]name`.
pub fn binding(namespace: &str, name: &str, role: &str, subjects: &[&str]) -> Value {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let (role_kind, role_name) = role.split_once('/').expect("Kind/name");
    let subject = |text: &&str| match text.split('/').collect::<Vec<_>>()[..] {
        [kind, namespace, name] => json!({"kind": kind, "namespace": namespace, "name": name}),
        [kind, name] => json!({"kind": kind, "name": name}),
        _ => panic!("no subject: {text}"),
    };
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role_name},
        "subjects": subjects.iter().map(subject).collect::<Vec<_>>(),
    })
}
