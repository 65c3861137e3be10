//! CustomResourceDefinitions at work: their status, the resources they add to the catalog, and their end.
//!
//! Kubernetes does this in controllers, some time after the definition is written. Here it is part of the write: a
//! definition that is acknowledged is served.

use std::sync::Arc;

use backstay_api::crd::{self, CLEANUP_FINALIZER, CustomResource};
use backstay_api::managed::{self, Manager};
use backstay_api::{Reason, Status, meta};
use backstay_store::{Entry, Key, Operation, Range, StoreError};
use serde_json::Value;

use crate::call::Call;
use crate::catalog::{SchemaSource, Served};
use crate::encode;
use crate::registry::{delete, store_failure};
use crate::request::options::DeleteOptions;
use crate::server::Core;

/// Where definitions are kept.
const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";

pub fn is_definition(served: &Served) -> bool {
    served.is("apiextensions.k8s.io", "customresourcedefinitions")
}

/// Writes the status that a definition has beside the others, as a write of the server's own.
pub fn settle(core: &Core, served: &Served, definition: &mut Value) {
    let others = definitions(core);
    let (before, now) = (definition.clone(), core.clock.now());
    let status = crd::status(definition, others.iter(), now);
    if definition.get("status") == Some(&status) {
        return;
    }
    meta::map_mut(definition, &[]).insert("status".into(), status);
    let manager = Manager { name: "kube-apiserver", resource: &served.resource, subresource: "status", now };
    managed::track_update(&served.schema, &served.ty, Some(&before), definition, &manager);
}

/// Serves what the stored definitions define, no more and no less.
pub fn refresh(core: &Core) {
    let resources = definitions(core).iter().flat_map(crd::compile).map(served).collect();
    core.catalog.set_custom(resources);
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
/// the definition when nothing is.
pub async fn clean_up(core: &Arc<Core>, name: &str) -> Result<(), Status> {
    let key = Key::new(DEFINITIONS, "", name);
    let Some(entry) = core.store.snapshot().get(&key) else { return Ok(()) };
    let definition = encode::parse(&entry);
    let ours = meta::finalizers(&definition).any(|finalizer| finalizer == CLEANUP_FINALIZER);
    if !meta::is_being_deleted(&definition) || !ours {
        return Ok(());
    }
    if let Some(resource) = crd::compile(&definition).into_iter().next() {
        let range = Range::all(&resource.resource.storage);
        delete_all(core, &Arc::new(served(resource)), &range).await?;
        if core.store.snapshot().count(&range) > 0 {
            return Ok(());
        }
    }
    release(core, &entry, definition).await
}

/// The same, for the definition that this resource comes from.
pub async fn clean_up_after(core: &Arc<Core>, served: &Served) -> Result<(), Status> {
    if served.custom.is_none() {
        return Ok(());
    }
    clean_up(core, &definition_name(served)).await
}

fn served(custom: CustomResource) -> Served {
    let (schema, ty) = (SchemaSource::Custom(custom.schema.clone()), custom.ty.clone());
    Served::custom(custom.resource.clone(), schema, ty, custom)
}

fn definitions(core: &Core) -> Vec<Value> {
    let entries = core.store.snapshot().list(&Range::all(DEFINITIONS), None, 0);
    entries.iter().map(|entry| encode::parse(entry)).collect()
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
async fn release(core: &Core, entry: &Entry, mut definition: Value) -> Result<(), Status> {
    let Some(served) = core.catalog.find("apiextensions.k8s.io", "v1", "customresourcedefinitions") else {
        return Ok(());
    };
    let others: Vec<&str> = meta::finalizers(&definition).filter(|finalizer| *finalizer != CLEANUP_FINALIZER).collect();
    let operation = if others.is_empty() {
        Operation::Delete { last: served.encode(&definition), expected: entry.revision }
    } else {
        let others = others.iter().map(|finalizer| Value::from(*finalizer)).collect::<Vec<_>>();
        meta::set_meta(&mut definition, "finalizers", others);
        Operation::Update { value: served.encode(&definition), expected: entry.revision }
    };
    match core.store.commit(entry.key.clone(), operation).await {
        // Whoever changed it meanwhile comes by here as well.
        Ok(_) | Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => {}
        Err(error) => return Err(store_failure(&error)),
    }
    refresh(core);
    Ok(())
}
