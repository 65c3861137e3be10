//! The objects that exist in every cluster from its first start: namespaces, roles, bindings, priority classes.
//!
//! [`plan`] says what is missing, purely; [`run`] writes it. Running it again does nothing, unless somebody took
//! rights away from a default role: those come back, as in Kubernetes, but for objects whose annotation
//! `rbac.authorization.kubernetes.io/autoupdate` is `"false"`.

mod roles;

use backstay_api::resources::{self, Resource};
use backstay_api::{Clock, Entropy, defaults, meta, strategy, time};
use backstay_store::{Encoded, Key, Operation, Revision, Snapshot, Store, StoreError};
use serde_json::{Value, json};

/// The namespaces of every cluster.
pub const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// How often a write is tried again because somebody else was quicker.
const ATTEMPTS_MAX: usize = 5;

/// What an object needs on its way into the store.
pub struct Writer<'a> {
    pub encode: &'a (dyn Fn(&Resource, &Value) -> Encoded + Sync),
    pub clock: &'a Clock,
    pub entropy: &'a Entropy,
}

/// One thing to write.
#[derive(Debug, PartialEq)]
pub enum Step {
    Create(Value),
    Update { object: Value, expected: Revision },
}

#[derive(Debug, thiserror::Error)]
#[error("cannot write the object {kind} {name:?} that every cluster has")]
pub struct BootstrapError {
    pub kind: String,
    pub name: String,
    pub source: StoreError,
}

/// Writes what is missing.
///
/// # Errors
/// The first write that the store refuses.
pub async fn run(store: &dyn Store, writer: &Writer<'_>) -> Result<(), BootstrapError> {
    for attempt in 1.. {
        let steps = plan(&*store.snapshot()).into_iter();
        // All at once: the store makes them durable together.
        let written = futures::future::join_all(steps.map(|step| write(store, writer, step))).await;
        let errors: Vec<BootstrapError> = written.into_iter().filter_map(Result::err).collect();
        let only_overtaken = errors.iter().all(BootstrapError::is_overtaken) && attempt < ATTEMPTS_MAX;
        match errors.into_iter().next() {
            Some(error) if !only_overtaken => return Err(error),
            Some(_) => continue,
            None => break,
        }
    }
    Ok(())
}

/// What is missing, in the order in which it should be written.
pub fn plan(seen: &dyn Snapshot) -> Vec<Step> {
    all().into_iter().filter_map(|wanted| step(seen, wanted)).collect()
}

/// Every object that must exist.
pub fn all() -> Vec<Value> {
    let namespaces = NAMESPACES.iter().map(|name| namespace(name));
    namespaces.chain(roles::all()).chain(priority_classes()).collect()
}

fn step(seen: &dyn Snapshot, wanted: Value) -> Option<Step> {
    let Some(entry) = seen.get(&key(&wanted)) else { return Some(Step::Create(wanted)) };
    let stored: Value = serde_json::from_slice(&entry.value).ok()?;
    let object = reconciled(&stored, &wanted)?;
    Some(Step::Update { object, expected: entry.revision })
}

/// The stored object with what it lacks; `None` if it lacks nothing or is not ours to change.
fn reconciled(stored: &Value, wanted: &Value) -> Option<Value> {
    let is_default = meta::annotation(wanted, roles::AUTOUPDATE).is_some();
    if !is_default || meta::annotation(stored, roles::AUTOUPDATE) == Some("false") {
        return None;
    }
    let mut object = stored.clone();
    for field in ["rules", "subjects"] {
        // The rules of an aggregating role are what others make them.
        let missing = missing(stored, wanted, field);
        if !missing.is_empty() && wanted.get("aggregationRule").is_none() {
            let list = meta::map_mut(&mut object, &[]).entry(field).or_insert_with(|| json!([]));
            match list.as_array_mut() {
                Some(list) => list.extend(missing),
                None => *list = missing.into(),
            }
        }
    }
    if wanted.get("aggregationRule") != stored.get("aggregationRule") {
        object["aggregationRule"] = wanted["aggregationRule"].clone();
    }
    if wanted.get("roleRef") != stored.get("roleRef") {
        // A binding of another role under this name: the default one takes its place, subjects included.
        (object["roleRef"], object["subjects"]) = (wanted["roleRef"].clone(), wanted["subjects"].clone());
    }
    for field in ["labels", "annotations"] {
        // Aggregation goes by labels: without them, rights would be missing elsewhere. What was changed stays changed.
        for (key, value) in meta::string_map(wanted["metadata"].get(field)) {
            meta::map_mut(&mut object, &["metadata", field]).entry(key).or_insert(value.into());
        }
    }
    (object != *stored).then_some(object)
}

fn missing(stored: &Value, wanted: &Value, field: &str) -> Vec<Value> {
    let has = meta::list_at(stored, &[field]);
    meta::list_at(wanted, &[field]).iter().filter(|element| !has.contains(element)).cloned().collect()
}

async fn write(store: &dyn Store, writer: &Writer<'_>, step: Step) -> Result<(), BootstrapError> {
    let (mut object, expected) = match step {
        Step::Create(object) => (object, None),
        Step::Update { object, expected } => (object, Some(expected)),
    };
    let resource = resource(&object);
    if expected.is_none() {
        begin(resource, &mut object, writer);
    }
    let value = (writer.encode)(resource, &object);
    let operation = match expected {
        None => Operation::Create { value },
        Some(expected) => Operation::Update { value, expected },
    };
    let written = store.commit(key(&object), operation).await;
    let (kind, name) = (resource.kind.clone(), meta::name(&object).to_string());
    written.map(drop).map_err(|source| BootstrapError { kind, name, source })
}

/// What the server gives a new object.
fn begin(resource: &Resource, object: &mut Value, writer: &Writer<'_>) {
    defaults::apply(&resource.gvk(), object);
    strategy::prepare_for_create(resource, object);
    meta::set_meta(object, "uid", writer.entropy.uuid());
    meta::set_meta(object, "creationTimestamp", time::seconds(writer.clock.now()));
}

impl BootstrapError {
    /// Another server of the same store has written it meanwhile.
    fn is_overtaken(&self) -> bool {
        matches!(self.source, StoreError::Exists { .. } | StoreError::Conflict { .. } | StoreError::NotFound { .. })
    }
}

fn key(object: &Value) -> Key {
    Key::new(&resource(object).storage, meta::namespace(object).unwrap_or_default(), meta::name(object))
}

fn resource(object: &Value) -> &'static Resource {
    let resource = meta::gvk(object).and_then(|gvk| resources::of_kind(&gvk));
    resource.expect("objects of every cluster are of built-in kinds")
}

fn namespace(name: &str) -> Value {
    json!({
        "kind": "Namespace", "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
    })
}

/// Source: `k8s.io/kubernetes/pkg/apis/scheduling` `SystemPriorityClasses`.
fn priority_classes() -> [Value; 2] {
    let class = |name: &str, value: i64, description: &str| {
        json!({
            "kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": {"name": name},
            "value": value, "description": description,
        })
    };
    [
        class(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ]
}

#[cfg(test)]
mod tests;
