//! CustomResourceDefinitions at work: their status, the resources they add to the catalog, and their end.
//!
//! Kubernetes does this in controllers, some time after the definition is written. Here it is part of the write: a
//! definition that is acknowledged is served. What a write has left undone, because its server died or because it did
//! not come through this server, [`follow`] finds. Serving the resources is the catalog's business.

pub mod follow;

use std::sync::Arc;

use backstay_api::crd::{self, CLEANUP_FINALIZER};
use backstay_api::managed::{self, Manager};
use backstay_api::resources::Resource;
use backstay_api::schema::Type;
use backstay_api::{Reason, Status, meta};
use backstay_store::{Entry, Key, Operation, Range, Snapshot, StoreError};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::call::Call;
use crate::catalog::{SchemaSource, Served};
use crate::encode;
use crate::registry::{Beside, delete, store_failure};
use crate::request::options::DeleteOptions;
use crate::server::Core;

/// Where definitions are kept.
pub const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// Held from looking at the names that are taken until a definition is written.
pub type Lock = Mutex<()>;

pub fn is_definition(served: &Served) -> bool {
    served.is("apiextensions.k8s.io", "customresourcedefinitions")
}

/// Gives a definition the status that it has beside the others, as a write of the server's own. To be held until it
/// is written.
pub async fn settle<'a>(core: &'a Core, served: &Served, definition: &mut Value) -> Option<Beside<'a>> {
    if !is_definition(served) {
        return None;
    }
    let turn = core.definitions.lock().await;
    let snapshot = core.store.snapshot();
    let others = others(&*snapshot, definition);
    let (before, now) = (definition.clone(), core.clock.now());
    let status = crd::status(definition, others.iter(), now);
    if definition.get("status") != Some(&status) {
        meta::map_mut(definition, &[]).insert("status".into(), status);
        track(served, &before, definition, now);
    }
    Some(Beside { seen: snapshot.revision(), _turn: turn })
}

fn track(served: &Served, before: &Value, definition: &mut Value, now: Timestamp) {
    let manager = Manager { name: "kube-apiserver", resource: &served.resource, subresource: "status", now };
    managed::track_update(&served.schema, &served.ty, Some(before), definition, &manager);
}

/// Objects of a definition that is being deleted cannot be made any more.
pub fn refuse_create(call: &Call) -> Result<(), Status> {
    let ending = call.served.custom.is_some()
        && definition_of(&call.core, &call.served).is_some_and(|(_, definition)| meta::is_being_deleted(&definition));
    if ending {
        let message = "create not allowed while custom resource definition is terminating";
        return Err(Status::new(Reason::MethodNotAllowed, message));
    }
    Ok(())
}

/// After a definition was marked for deletion, or an object of one is gone: deletes what is left of its objects, and
/// the definition when nothing is. Gives the storage of objects that stay for the sake of their own finalizers.
pub async fn clean_up(core: &Arc<Core>, name: &str) -> Result<Option<String>, Status> {
    let key = Key::new(DEFINITIONS, "", name);
    let Some(entry) = core.store.snapshot().get(&key) else { return Ok(None) };
    let definition = encode::parse(&entry);
    let ours = meta::finalizers(&definition).any(|finalizer| finalizer == CLEANUP_FINALIZER);
    let Some(served) = definitions(core).filter(|_| meta::is_being_deleted(&definition) && ours) else {
        return Ok(None);
    };
    let kind = Arc::new(kind(&served, &definition));
    let range = Range::all(kind.storage());
    delete_all(core, &kind, &range).await?;
    if core.store.snapshot().count(&range) == 0 {
        return release(core, &served, &entry, definition).await.map(|()| None);
    }
    let (mut waiting, now) = (definition.clone(), core.clock.now());
    crd::continue_deletion(&mut waiting, now);
    if waiting != definition {
        track(&served, &definition, &mut waiting, now);
        let value = served.encode(&waiting);
        commit(core, &entry, Operation::Update { value, expected: entry.revision }).await?;
    }
    Ok(Some(kind.resource.storage.clone()))
}

/// The same, by somebody whose own work is done already: what fails is left to [`follow`].
pub async fn begin_clean_up(core: &Arc<Core>, name: &str) {
    if let Err(status) = clean_up(core, name).await {
        tracing::warn!(error = status.message(), name, "this definition is not cleaned up yet; will try again");
    }
}

/// The same, for the definition that this resource comes from.
pub async fn clean_up_after(core: &Arc<Core>, served: &Served) {
    if served.custom.is_some() {
        begin_clean_up(core, &definition_name(served)).await;
    }
}

/// The resource of definitions themselves.
fn definitions(core: &Core) -> Option<Arc<Served>> {
    core.catalog.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
}

/// The objects of a definition, as far as deleting is concerned: no version of it needs to be served for that.
fn kind(definitions: &Served, definition: &Value) -> Served {
    let text = |path: &[&str]| meta::str_at(definition, path).to_string();
    let (group, plural) = (text(&["spec", "group"]), text(&["spec", "names", "plural"]));
    let resource = Resource {
        storage: format!("{group}/{plural}"),
        kind: text(&["spec", "names", "kind"]),
        namespaced: text(&["spec", "scope"]) == "Namespaced",
        subresources: Vec::new(),
        stored_as: None,
        group,
        plural,
        ..definitions.resource.clone()
    };
    Served::new(resource, SchemaSource::Builtin, Type::Any)
}

/// The definitions that share a group, and so the space of names, with this one.
fn others(snapshot: &dyn Snapshot, definition: &Value) -> Vec<Value> {
    let suffix = format!(".{}", meta::str_at(definition, &["spec", "group"]));
    let entries = snapshot.list(&Range::all(DEFINITIONS), None, 0);
    let entries = entries.iter().filter(|entry| entry.key.name.ends_with(&suffix));
    entries.map(|entry| encode::parse(entry)).collect()
}

fn definition_name(served: &Served) -> String {
    format!("{}.{}", served.resource.plural, served.resource.group)
}

fn definition_of(core: &Core, served: &Served) -> Option<(Arc<Entry>, Value)> {
    let entry = core.store.snapshot().get(&Key::new(DEFINITIONS, "", &definition_name(served)))?;
    let definition = encode::parse(&entry);
    Some((entry, definition))
}

async fn delete_all(core: &Arc<Core>, served: &Arc<Served>, range: &Range) -> Result<(), Status> {
    for entry in core.store.snapshot().list(range, None, 0) {
        let call = Call::internal(core.clone(), served.clone(), &entry.key.namespace, &entry.key.name);
        match delete::delete_only(&call, &DeleteOptions::default(), &entry.key.name).await {
            Err(status) if !delete::is_gone(&status) => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

/// Takes our finalizer from a definition; it goes if it was the last.
async fn release(core: &Core, served: &Served, entry: &Entry, mut definition: Value) -> Result<(), Status> {
    let others = meta::finalizers(&definition).filter(|finalizer| *finalizer != CLEANUP_FINALIZER);
    let others: Vec<String> = others.map(str::to_string).collect();
    let expected = entry.revision;
    if others.is_empty() {
        return commit(core, entry, Operation::Delete { last: served.encode(&definition), expected }).await;
    }
    let (before, now) = (definition.clone(), core.clock.now());
    meta::set_meta(&mut definition, "finalizers", others);
    crd::end_deletion(&mut definition, now);
    track(served, &before, &mut definition, now);
    commit(core, entry, Operation::Update { value: served.encode(&definition), expected }).await
}

async fn commit(core: &Core, entry: &Entry, operation: Operation) -> Result<(), Status> {
    written(core.store.commit(entry.key.clone(), operation).await)
}

fn written(result: Result<Arc<Entry>, StoreError>) -> Result<(), Status> {
    match result {
        // Whoever changed it, or another, meanwhile comes by here as well.
        Ok(_) | Err(StoreError::Conflict { .. } | StoreError::NotFound { .. } | StoreError::Overtaken { .. }) => Ok(()),
        Err(error) => Err(store_failure(&error)),
    }
}
