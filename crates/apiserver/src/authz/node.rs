//! What nodes may do: each its own Node, Lease and pods, and what those pods mount. Everything else is refused here, and
//! left to what roles say.
//!
//! Source: `plugin/pkg/auth/authorizer/node`, with selectors (`AuthorizeNodeWithSelectors`). Stricter in one thing: of
//! certificate requests a node sees its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use backstay_api::pod::containers;
use backstay_api::{meta, servers};
use backstay_store::{Event, Key, Range, Store, StoreError, Watch};
use serde_json::Value;

use super::{Action, Attributes, Resource};
use crate::UserInfo;
use crate::encode;

/// The group that nodes are in.
pub const NODES: &str = "system:nodes";
const USER_PREFIX: &str = "system:node:";
/// Where nodes keep their Leases.
pub const LEASES: &str = "kube-node-lease";

/// What every node may do: verbs, groups, resources.
const COMMON: [(&str, &str, &str); 6] = [
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "subjectaccessreviews localsubjectaccessreviews"),
    ("get list watch", "", "services"),
    ("get list watch", "node.k8s.io", "runtimeclasses"),
    ("get list watch", "storage.k8s.io", "csidrivers"),
    ("create patch update", "", "events"),
];

/// What a list or watch asks for, as far as the rights of nodes depend on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selected<'a> {
    /// What is on this node.
    pub node: Option<&'a str>,
    /// The Leases by which servers make themselves known.
    pub servers: bool,
}

/// The name of the node that sends a request.
pub fn name_of(user: &UserInfo) -> Option<&str> {
    let name = user.name.strip_prefix(USER_PREFIX).filter(|name| !name.is_empty())?;
    user.is_in(NODES).then_some(name)
}

/// Knows which pods are on which node.
pub struct NodeAuthorizer {
    store: Arc<dyn Store>,
    pods: Mutex<Option<PodsByNode>>,
}

struct PodsByNode {
    by_node: BTreeMap<String, BTreeSet<Key>>,
    watch: Box<dyn Watch>,
}

impl NodeAuthorizer {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, pods: Mutex::default() }
    }

    /// Whether a node may do this.
    pub fn allows(&self, attributes: &Attributes<'_>, selected: Selected<'_>) -> bool {
        let Some(node) = name_of(attributes.user) else { return false };
        let Action::Resource(resource) = &attributes.action else { return false };
        let (verb, name) = (attributes.verb, resource.name);
        let reads = matches!(verb, "get" | "list" | "watch");
        match (resource.group, resource.resource, resource.subresource) {
            ("", "nodes", "") => match verb {
                "create" => true,
                "get" | "list" | "watch" | "update" | "patch" => name == node,
                _ => false,
            },
            ("", "nodes", "status") => matches!(verb, "get" | "update" | "patch") && name == node,
            // Where the servers are. Kubernetes has no need of that: its nodes know one address.
            ("coordination.k8s.io", "leases", "") if resource.namespace == servers::NAMESPACE => {
                matches!(verb, "list" | "watch") && selected.servers
            }
            ("coordination.k8s.io", "leases", "") => {
                resource.namespace == LEASES
                    && match verb {
                        "create" => true,
                        "get" | "update" | "patch" | "delete" => name == node,
                        _ => false,
                    }
            }
            ("storage.k8s.io", "csinodes", "") => {
                verb == "create" || (matches!(verb, "get" | "update" | "patch" | "delete") && name == node)
            }
            ("certificates.k8s.io", "certificatesigningrequests", "") => match verb {
                "create" => true,
                "get" => self.is_own_request(&attributes.user.name, name),
                _ => false,
            },
            ("", "pods", "") => match verb {
                "list" | "watch" => selected.node == Some(node),
                "create" => true,
                "get" | "delete" => self.is_on(node, resource),
                _ => false,
            },
            ("", "pods", "status") => matches!(verb, "get" | "update" | "patch") && self.is_on(node, resource),
            ("", "pods", "eviction") => verb == "create" && self.is_on(node, resource),
            ("", "secrets", "") => reads && self.mounts(node, resource, secrets),
            ("", "configmaps", "") => reads && self.mounts(node, resource, config_maps),
            ("", "persistentvolumeclaims", "") => verb == "get" && self.mounts(node, resource, claims),
            ("", "serviceaccounts", "") => verb == "get" && self.mounts(node, resource, accounts),
            ("", "serviceaccounts", "token") => verb == "create" && self.mounts(node, resource, accounts),
            ("events.k8s.io", "events", "") => matches!(verb, "create" | "patch" | "update"),
            (group, plural, "") => {
                COMMON.iter().any(|(verbs, of, plurals)| *of == group && words(verbs, verb) && words(plurals, plural))
            }
            _ => false,
        }
    }

    fn is_own_request(&self, user: &str, name: &str) -> bool {
        let key = Key::new("certificates.k8s.io/certificatesigningrequests", "", name);
        let found = self.store.snapshot().get(&key).map(|entry| encode::parse(&entry));
        found.is_some_and(|request| meta::str_at(&request, &["spec", "username"]) == user)
    }

    fn is_on(&self, node: &str, pod: &Resource<'_>) -> bool {
        self.pods_of(node).iter().any(|key| *key.namespace == *pod.namespace && *key.name == *pod.name)
    }

    /// Whether a pod of the node needs the object of that name.
    fn mounts(&self, node: &str, wanted: &Resource<'_>, needed: fn(&Value) -> Vec<String>) -> bool {
        if wanted.name.is_empty() {
            return false;
        }
        let snapshot = self.store.snapshot();
        let pods = self.pods_of(node).into_iter().filter(|key| *key.namespace == *wanted.namespace);
        let mut pods = pods.filter_map(|key| Some(encode::parse(&*snapshot.get(&key)?)));
        pods.any(|pod| needed(&pod).iter().any(|name| name == wanted.name))
    }

    fn pods_of(&self, node: &str) -> BTreeSet<Key> {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if pods.as_mut().is_none_or(|pods| pods.follow().is_err()) {
            *pods = PodsByNode::build(&*self.store).ok();
        }
        pods.as_ref().and_then(|pods| pods.by_node.get(node).cloned()).unwrap_or_default()
    }
}

impl PodsByNode {
    fn build(store: &dyn Store) -> Result<Self, StoreError> {
        let snapshot = store.snapshot();
        let watch = store.watch(Range::all("pods"), snapshot.revision())?;
        let mut by_node: BTreeMap<String, BTreeSet<Key>> = BTreeMap::new();
        for entry in snapshot.list(&Range::all("pods"), None, 0) {
            if let Some(node) = node_of(&entry) {
                by_node.entry(node.to_string()).or_default().insert(entry.key.clone());
            }
        }
        Ok(Self { by_node, watch })
    }

    fn follow(&mut self) -> Result<(), StoreError> {
        while let Some(event) = self.watch.try_next()? {
            self.take_in(&event);
        }
        Ok(())
    }

    fn take_in(&mut self, event: &Event) {
        if let Some(node) = event.previous.as_deref().and_then(node_of)
            && let Some(pods) = self.by_node.get_mut(node)
        {
            pods.remove(&event.entry.key);
            if pods.is_empty() {
                self.by_node.remove(node);
            }
        }
        let is_there = event.kind != backstay_store::EventKind::Deleted;
        if let Some(node) = node_of(&event.entry).filter(|_| is_there) {
            self.by_node.entry(node.to_string()).or_default().insert(event.entry.key.clone());
        }
    }
}

fn node_of(entry: &backstay_store::Entry) -> Option<&str> {
    entry.index.fields.get("spec.nodeName").filter(|node| !node.is_empty())
}

fn words(list: &str, word: &str) -> bool {
    list.split(' ').any(|one| one == word)
}

fn volumes(pod: &Value) -> &[Value] {
    meta::list_at(pod, &["spec", "volumes"])
}

/// Names at a path of each of these, without those that are empty.
fn names<'a>(values: impl Iterator<Item = &'a Value>, path: &[&str]) -> Vec<String> {
    values.map(|value| meta::str_at(value, path).to_string()).filter(|name| !name.is_empty()).collect()
}

fn from_environment(pod: &Value, whole: &str, key: &str) -> Vec<String> {
    let sources = containers(pod).flat_map(|it| meta::list_at(it, &["envFrom"]));
    let variables = containers(pod).flat_map(|it| meta::list_at(it, &["env"]));
    [names(sources, &[whole, "name"]), names(variables, &["valueFrom", key, "name"])].concat()
}

fn projected(pod: &Value) -> impl Iterator<Item = &Value> {
    volumes(pod).iter().flat_map(|volume| meta::list_at(volume, &["projected", "sources"]))
}

fn secrets(pod: &Value) -> Vec<String> {
    let mut found = from_environment(pod, "secretRef", "secretKeyRef");
    found.extend(names(volumes(pod).iter(), &["secret", "secretName"]));
    found.extend(names(projected(pod), &["secret", "name"]));
    found.extend(names(meta::list_at(pod, &["spec", "imagePullSecrets"]).iter(), &["name"]));
    for kind in ["cephfs", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"] {
        found.extend(names(volumes(pod).iter(), &[kind, "secretRef", "name"]));
    }
    found.extend(names(volumes(pod).iter(), &["azureFile", "secretName"]));
    found.extend(names(volumes(pod).iter(), &["csi", "nodePublishSecretRef", "name"]));
    found
}

fn config_maps(pod: &Value) -> Vec<String> {
    let mut found = from_environment(pod, "configMapRef", "configMapKeyRef");
    found.extend(names(volumes(pod).iter(), &["configMap", "name"]));
    found.extend(names(projected(pod), &["configMap", "name"]));
    found
}

fn claims(pod: &Value) -> Vec<String> {
    names(volumes(pod).iter(), &["persistentVolumeClaim", "claimName"])
}

fn accounts(pod: &Value) -> Vec<String> {
    names(std::iter::once(pod), &["spec", "serviceAccountName"])
}

/// Whether a node that runs the pod may read other objects for its sake.
pub fn refers_to_objects(pod: &Value) -> bool {
    [secrets, config_maps, claims, accounts].iter().any(|needed| !needed(pod).is_empty())
        || !meta::list_at(pod, &["spec", "resourceClaims"]).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use backstay_store::{MemoryStore, Operation};
    use serde_json::json;

    /// Node `n1` runs pod `default/a`, which needs one thing of each kind; `n2` runs `default/b`, which needs nothing.
    async fn authorizer() -> (NodeAuthorizer, Arc<MemoryStore>) {
        let store = Arc::new(MemoryStore::new());
        let authorizer = NodeAuthorizer::new(store.clone());
        let container = json!({ "name": "main", "env": [
            { "name": "A", "valueFrom": { "secretKeyRef": { "name": "s-env", "key": "k" } } },
            { "name": "B", "valueFrom": { "configMapKeyRef": { "name": "c-env", "key": "k" } } }],
            "envFrom": [{ "secretRef": { "name": "s-from" } }, { "configMapRef": { "name": "c-from" } }] });
        let volumes = json!([
            { "name": "a", "secret": { "secretName": "s-vol" } }, { "name": "b", "configMap": { "name": "c-vol" } },
            { "name": "c", "projected": { "sources": [{ "secret": { "name": "s-proj" } }, { "configMap": { "name": "c-proj" } }] } },
            { "name": "d", "persistentVolumeClaim": { "claimName": "p" } }]);
        let spec = json!({ "nodeName": "n1", "serviceAccountName": "sa", "imagePullSecrets": [{ "name": "s-pull" }],
            "containers": [container], "volumes": volumes });
        put(
            &store,
            "v1",
            "pods",
            json!({ "kind": "Pod", "metadata": { "name": "a", "namespace": "default" }, "spec": spec }),
        )
        .await;
        let spec = json!({ "nodeName": "n2", "containers": [] });
        put(
            &store,
            "v1",
            "pods",
            json!({ "kind": "Pod", "metadata": { "name": "b", "namespace": "default" }, "spec": spec }),
        )
        .await;
        for (name, username) in [("own", "system:node:n1"), ("other", "system:node:n2")] {
            let request = json!({ "metadata": { "name": name }, "spec": { "username": username } });
            put(&store, "v1", "certificatesigningrequests", request).await;
        }
        (authorizer, store)
    }

    async fn put(store: &MemoryStore, version: &str, plural: &str, object: Value) {
        let group = if plural == "pods" { "" } else { "certificates.k8s.io" };
        let catalog = Catalog::new(Arc::new(MemoryStore::new()));
        let served = catalog.find(group, version, plural).unwrap();
        let key = Key::new(served.storage(), meta::namespace(&object).unwrap_or_default(), meta::name(&object));
        store.commit(key, Operation::Create { value: served.encode(&object) }).await.unwrap();
    }

    /// `VERB [GROUP/]RESOURCE[/SUBRESOURCE] [NAMESPACE/]NAME`, and perhaps `of=NODE` for the node that is selected, `of=` for
    /// the servers.
    fn allows(authorizer: &NodeAuthorizer, request: &str) -> bool {
        let user = UserInfo::new("system:node:n1", &[NODES]);
        let words: Vec<&str> = request.split(' ').collect();
        let (group, path) = match words[1].split_once(':') {
            Some((group, path)) => (group, path),
            None => ("", words[1]),
        };
        let (resource, subresource) = path.split_once('/').unwrap_or((path, ""));
        let target = words.get(2).filter(|word| !word.starts_with("of=")).copied().unwrap_or_default();
        let (namespace, name) = target.split_once('/').unwrap_or(("", target));
        let of = words.iter().find_map(|word| word.strip_prefix("of="));
        let selected = Selected { node: of.filter(|node| !node.is_empty()), servers: of == Some("") };
        let action = Action::Resource(Resource { group, resource, subresource, namespace, name });
        authorizer.allows(&Attributes { user: &user, verb: words[0], action }, selected)
    }

    #[tokio::test]
    async fn a_node_may_do_what_is_its_own() {
        let (authorizer, store) = authorizer().await;
        for request in [
            "get nodes n1",
            "list nodes n1",
            "patch nodes n1",
            "patch nodes/status n1",
            "create nodes",
            "create coordination.k8s.io:leases kube-node-lease/",
            "patch coordination.k8s.io:leases kube-node-lease/n1",
            "list coordination.k8s.io:leases kube-system/ of=",
            "watch coordination.k8s.io:leases kube-system/ of=",
            "list pods of=n1",
            "watch pods of=n1",
            "get pods default/a",
            "delete pods default/a",
            "patch pods/status default/a",
            "create pods/eviction default/a",
            "get secrets default/s-env",
            "get secrets default/s-from",
            "get secrets default/s-vol",
            "get secrets default/s-proj",
            "watch secrets default/s-pull",
            "get configmaps default/c-env",
            "get configmaps default/c-from",
            "get configmaps default/c-vol",
            "get configmaps default/c-proj",
            "get persistentvolumeclaims default/p",
            "create serviceaccounts/token default/sa",
            "create certificates.k8s.io:certificatesigningrequests",
            "get certificates.k8s.io:certificatesigningrequests own",
            "get node.k8s.io:runtimeclasses x",
            "list services",
            "create events default/",
            "patch events.k8s.io:events default/x",
        ] {
            assert!(allows(&authorizer, request), "{request}");
        }
        // With its pod, its rights go.
        let entry = store.snapshot().get(&Key::new("pods", "default", "a")).unwrap();
        let catalog = Catalog::new(Arc::new(MemoryStore::new()));
        let last = catalog.find("", "v1", "pods").unwrap().encode(&encode::parse(&entry));
        store.commit(entry.key.clone(), Operation::Delete { last, expected: entry.revision }).await.unwrap();
        for request in ["get pods default/a", "get secrets default/s-env", "create serviceaccounts/token default/sa"] {
            assert!(!allows(&authorizer, request), "{request}");
        }
    }

    #[tokio::test]
    async fn a_node_may_not_do_what_is_not() {
        let (authorizer, _) = authorizer().await;
        for request in [
            "get nodes n2",
            "list nodes",
            "patch nodes n2",
            "patch nodes/status n2",
            "delete nodes n1",
            "delete nodes n2",
            "patch coordination.k8s.io:leases kube-node-lease/n2",
            "patch coordination.k8s.io:leases kube-system/n1",
            "list coordination.k8s.io:leases kube-node-lease/",
            "list coordination.k8s.io:leases kube-node-lease/ of=",
            "list coordination.k8s.io:leases kube-system/",
            "list coordination.k8s.io:leases of=",
            "get coordination.k8s.io:leases kube-system/x of=",
            "create coordination.k8s.io:leases kube-system/ of=",
            "list pods",
            "list pods of=n2",
            "get pods default/b",
            "delete pods default/b",
            "patch pods default/a",
            "patch pods/status default/b",
            "create pods/exec default/a",
            "create pods/eviction default/b",
            "create pods/binding default/a",
            "get secrets default/other",
            "get secrets kube-system/s-env",
            "list secrets default/",
            "list secrets",
            "patch secrets default/s-env",
            "get configmaps default/other",
            "create serviceaccounts/token default/default",
            "create serviceaccounts/token kube-system/sa",
            "get certificates.k8s.io:certificatesigningrequests other",
            "list certificates.k8s.io:certificatesigningrequests",
            "patch certificates.k8s.io:certificatesigningrequests/approval own",
            "create rbac.authorization.k8s.io:clusterrolebindings",
            "get apps:daemonsets default/x",
            "impersonate users system:admin",
        ] {
            assert!(!allows(&authorizer, request), "{request}");
        }
        let stranger = UserInfo::new("system:node:n1", &[]);
        let action = Action::Resource(Resource { resource: "nodes", name: "n1", ..Resource::default() });
        assert!(
            !authorizer.allows(&Attributes { user: &stranger, verb: "get", action }, Selected::default()),
            "without the group"
        );
    }
}
