//! Carries out one action on one object.

use std::sync::Arc;

use backstay_controllers::garbage::{Action, Item, Owner, Partial, Propagation};
use backstay_controllers::model::Object;
use serde_json::{Value, json};

use super::monitors::{Kind, path};
use crate::api::{Api, ApiError, Patch};

/// How an action ended.
#[derive(Debug)]
pub enum Ended {
    /// Done; the watch will show it.
    Done,
    /// The object is not in the state that the action was planned for; this is what it is now.
    Stale(Item),
    /// The object is gone.
    Gone(Arc<str>),
    Failed(ApiError),
}

/// Carries out any action but [`Action::LookFor`], which is [`look_for`]'s.
pub async fn execute(api: &Api, action: &Action) -> Ended {
    let (item, done) = match action {
        Action::LookFor { .. } => return Ended::Done,
        Action::Delete { item, propagation } => (item, delete(api, item, *propagation).await),
        Action::RemoveOwners { item, uids } => (item, remove_owners(api, item, uids).await),
        Action::Unblock { item } => (item, unblock(api, item).await),
        Action::RemoveFinalizer { item, finalizer } => (item, remove_finalizer(api, item, finalizer).await),
    };
    match done {
        Ok(()) => Ended::Done,
        Err(error) if error.is_not_found() => Ended::Gone(item.uid.clone()),
        Err(error) if error.is_conflict() => look_again(api, item, error).await,
        Err(error) => Ended::Failed(error),
    }
}

/// The object that an owner reference means, if it exists under its name and with its uid.
pub async fn look_for(api: &Api, kind: &Kind, owner: &Owner, namespace: &Arc<str>) -> Result<Option<Item>, ApiError> {
    let namespace = if kind.namespaced { namespace } else { "" };
    match api.metadata_only().get(&path(&kind.resource).object(namespace, &owner.name)).await {
        Ok(body) => {
            let found = Item::new(kind.resource.clone(), &Partial::from_json(&body)?);
            Ok(Some(found).filter(|found| found.uid == owner.uid))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// If the object is what it was, then the write was refused for another reason than that.
async fn look_again(api: &Api, item: &Item, refused: ApiError) -> Ended {
    match api.metadata_only().get(&path_of(item)).await.and_then(|body| Ok(Partial::from_json(&body)?)) {
        Ok(found) if found.meta.uid != item.uid => Ended::Gone(item.uid.clone()),
        Ok(found) if found.meta.resource_version == item.resource_version => Ended::Failed(refused),
        Ok(found) => Ended::Stale(Item::new(item.resource.clone(), &found)),
        Err(error) if error.is_not_found() => Ended::Gone(item.uid.clone()),
        Err(error) => Ended::Failed(error),
    }
}

async fn delete(api: &Api, item: &Item, propagation: Propagation) -> Result<(), ApiError> {
    let policy = match propagation {
        Propagation::Background => "Background",
        Propagation::Foreground => "Foreground",
        Propagation::Orphan => "Orphan",
    };
    let mut preconditions = json!({ "uid": item.uid });
    if item.resource_version > 0 {
        preconditions["resourceVersion"] = json!(item.resource_version.to_string());
    }
    let options = json!({ "propagationPolicy": policy, "preconditions": preconditions });
    api.delete(&path_of(item), &options).await.map(drop)
}

async fn remove_owners(api: &Api, item: &Item, uids: &[Arc<str>]) -> Result<(), ApiError> {
    let references = uids.iter().map(|uid| json!({ "$patch": "delete", "uid": uid }));
    let without = |reference: &Value| {
        let uid = reference["uid"].as_str().unwrap_or_default();
        (!uids.iter().any(|one| **one == *uid)).then(|| reference.clone())
    };
    change_owners(api, item, references.collect(), without).await
}

async fn unblock(api: &Api, item: &Item) -> Result<(), ApiError> {
    let references = item.owners.iter().map(|owner| json!({ "uid": owner.uid, "blockOwnerDeletion": false }));
    let unblocked = |reference: &Value| {
        let mut reference = reference.clone();
        reference["blockOwnerDeletion"] = json!(false);
        Some(reference)
    };
    change_owners(api, item, references.collect(), unblocked).await
}

/// Built-in kinds merge the references by uid; custom ones get the whole list, in the state it was read.
async fn change_owners(
    api: &Api,
    item: &Item,
    references: Vec<Value>,
    change: impl Fn(&Value) -> Option<Value>,
) -> Result<(), ApiError> {
    let body = json!({ "metadata": { "uid": item.uid, "ownerReferences": references } });
    match api.patch(&path_of(item), Patch::Strategic, &body).await {
        Err(ApiError::Refused { code: 415, .. }) => {}
        done => return done.map(drop),
    }
    let metadata = read(api, item).await?;
    let owners = metadata["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let owners: Vec<Value> = owners.iter().filter_map(change).collect();
    replace(api, item, &metadata, "ownerReferences", json!(owners)).await
}

async fn remove_finalizer(api: &Api, item: &Item, finalizer: &str) -> Result<(), ApiError> {
    let metadata = read(api, item).await?;
    let finalizers = metadata["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rest: Vec<&Value> = finalizers.iter().filter(|one| *one != finalizer).collect();
    if rest.len() == finalizers.len() {
        return Ok(());
    }
    replace(api, item, &metadata, "finalizers", json!(rest)).await
}

/// The object's metadata as it is now.
async fn read(api: &Api, item: &Item) -> Result<Value, ApiError> {
    let body = api.metadata_only().get(&path_of(item)).await?;
    let mut object: Value = serde_json::from_slice(&body)?;
    Ok(object["metadata"].take())
}

/// Writes a field of metadata, if the object is still the item and in the state that was read.
async fn replace(api: &Api, item: &Item, read: &Value, field: &str, value: Value) -> Result<(), ApiError> {
    let body = json!({ "metadata": { "uid": item.uid, "resourceVersion": read["resourceVersion"], field: value } });
    api.patch(&path_of(item), Patch::Merge, &body).await.map(drop)
}

fn path_of(item: &Item) -> String {
    path(&item.resource).object(&item.namespace, &item.name)
}
