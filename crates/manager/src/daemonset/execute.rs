//! Carries one action out: one request, or a few where the first answer asks for another look.

use std::sync::Arc;

use backstay_controllers::daemonset::{Action, Outcome, owner_reference};
use backstay_controllers::history::HASH_LABEL;
use backstay_controllers::model::{ControllerRevision, DaemonSet, Object, ObjectRef, Pod};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::api::{Api, ApiError, CONTROLLER_REVISIONS, DAEMON_SETS, PODS, Patch, Resource, exactly};

/// What is known after an action: how it ended, and the newest state of the object it was about.
#[derive(Debug)]
pub struct Finished {
    pub outcome: Outcome,
    pub news: News,
    /// Why it failed.
    pub error: Option<ApiError>,
}

#[derive(Debug)]
pub enum News {
    Nothing,
    Pod(Arc<Pod>),
    PodGone(ObjectRef),
    Revision(Arc<ControllerRevision>),
    RevisionGone(ObjectRef),
    DaemonSet(Arc<DaemonSet>),
}

impl News {
    /// The object that is there, in its state.
    fn reference(&self) -> Option<ObjectRef> {
        match self {
            News::Pod(pod) => Some(pod.meta.reference()),
            News::Revision(revision) => Some(revision.meta.reference()),
            News::DaemonSet(daemonset) => Some(daemonset.meta.reference()),
            News::Nothing | News::PodGone(_) | News::RevisionGone(_) => None,
        }
    }
}

/// Carries out an action of this DaemonSet.
pub async fn execute(api: &Api, daemonset: &DaemonSet, action: &Action) -> Finished {
    let done = match action {
        Action::AdoptPod(pod) => change(api, &PODS, pod, adoption(daemonset, pod)).await,
        Action::ReleasePod(pod) => change(api, &PODS, pod, release(daemonset, pod)).await,
        Action::RelabelPod { pod, hash } => change(api, &PODS, pod, Change::merge(pod, label(hash))).await,
        Action::AdoptRevision(revision) => {
            change(api, &CONTROLLER_REVISIONS, revision, adoption(daemonset, revision)).await
        }
        Action::ReleaseRevision(revision) => {
            change(api, &CONTROLLER_REVISIONS, revision, release(daemonset, revision)).await
        }
        Action::LabelRevision { revision, hash } => {
            change(api, &CONTROLLER_REVISIONS, revision, Change::merge(revision, label(hash))).await
        }
        Action::RenumberRevision { revision, number } => {
            let change_number = Change::merge(revision, json!({ "revision": number }));
            change(api, &CONTROLLER_REVISIONS, revision, change_number).await
        }
        Action::DeletePod { pod, .. } => delete(api, &PODS, pod).await,
        Action::DeleteRevision { revision, .. } => delete(api, &CONTROLLER_REVISIONS, revision).await,
        Action::CreatePod { node, template } => {
            let created = api.post(&PODS.in_namespace(&template.namespace), template.render(node)).await;
            created.and_then(|body| Ok((Outcome::Done, read(&PODS, &body)?)))
        }
        Action::CreateRevision(body) => {
            let created = api.post(&CONTROLLER_REVISIONS.in_namespace(&body.namespace), body.to_json()).await;
            match created {
                Ok(body) => read(&CONTROLLER_REVISIONS, &body).map(|news| (Outcome::Done, news)),
                // The name is taken: whether by the same data, the planner sees as soon as it sees the object.
                Err(error) if error.is_already_exists() => {
                    let taken = ObjectRef {
                        namespace: body.namespace.clone(),
                        name: body.name.clone(),
                        uid: "".into(),
                        resource_version: 0,
                    };
                    look_again(api, &CONTROLLER_REVISIONS, &taken, error).await
                }
                Err(error) => Err(error),
            }
        }
        Action::RaiseCollisionCount { daemonset, to } => {
            write_status(api, daemonset, json!({ "collisionCount": to })).await
        }
    };
    match done {
        Ok((outcome, news)) => Finished { outcome, news, error: None },
        Err(error) => Finished { outcome: Outcome::Failed, news: News::Nothing, error: Some(error) },
    }
}

/// Merges these fields into the status of the DaemonSet, if it is still in this state.
pub async fn write_status(api: &Api, daemonset: &ObjectRef, status: Value) -> Result<(Outcome, News), ApiError> {
    let path = format!("{}/status", DAEMON_SETS.object(&daemonset.namespace, &daemonset.name));
    let body = json!({ "metadata": exactly(daemonset), "status": status });
    match api.patch(&path, Patch::Merge, &body).await {
        Ok(body) => Ok((Outcome::Done, read(&DAEMON_SETS, &body)?)),
        Err(error) if error.is_overtaken() => look_again(api, &DAEMON_SETS, daemonset, error).await,
        Err(error) => Err(error),
    }
}

/// A fresh look at the DaemonSet, before it takes anything that nobody owns: whether it is still this one, and wanted.
pub async fn may_adopt(api: &Api, daemonset: &DaemonSet) -> Result<bool, ApiError> {
    match api.get(&DAEMON_SETS.object(&daemonset.meta.namespace, &daemonset.meta.name)).await {
        Ok(body) => {
            let fresh = DaemonSet::from_json(&body)?;
            Ok(fresh.meta.uid == daemonset.meta.uid && !fresh.meta.is_being_deleted())
        }
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

struct Change {
    patch: Patch,
    body: Value,
}

impl Change {
    fn merge(object: &ObjectRef, mut body: Value) -> Self {
        let metadata = exactly(object);
        for (field, value) in metadata.as_object().into_iter().flatten() {
            body["metadata"][field] = value.clone();
        }
        Change { patch: Patch::Merge, body }
    }
}

async fn change(
    api: &Api,
    resource: &Resource,
    object: &ObjectRef,
    change: Change,
) -> Result<(Outcome, News), ApiError> {
    match api.patch(&resource.object(&object.namespace, &object.name), change.patch, &change.body).await {
        Ok(body) => Ok((Outcome::Done, read(resource, &body)?)),
        Err(error) if error.is_not_found() => Ok((Outcome::Stale, gone(resource, object))),
        Err(error) if error.is_conflict() => look_again(api, resource, object, error).await,
        Err(error) => Err(error),
    }
}

async fn delete(api: &Api, resource: &Resource, object: &ObjectRef) -> Result<(Outcome, News), ApiError> {
    match api.delete_exactly(resource, object).await {
        Ok(body) if takes_time(&body) => Ok((Outcome::Done, read(resource, &body)?)),
        Ok(_) => Ok((Outcome::Done, gone(resource, object))),
        Err(error) if error.is_not_found() => Ok((Outcome::Stale, gone(resource, object))),
        Err(error) if error.is_conflict() => look_again(api, resource, object, error).await,
        Err(error) => Err(error),
    }
}

/// The object is not what it was: what is it now? If it is what it was, then the write was refused for another reason.
async fn look_again(
    api: &Api,
    resource: &Resource,
    object: &ObjectRef,
    refused: ApiError,
) -> Result<(Outcome, News), ApiError> {
    match api.get(&resource.object(&object.namespace, &object.name)).await {
        Ok(body) => match read(resource, &body)? {
            now if now.reference().as_ref() == Some(object) => Err(refused),
            now => Ok((Outcome::Stale, now)),
        },
        Err(error) if error.is_not_found() => Ok((Outcome::Stale, gone(resource, object))),
        Err(error) => Err(error),
    }
}

fn read(resource: &Resource, body: &Bytes) -> Result<News, ApiError> {
    Ok(match resource {
        resource if *resource == PODS => News::Pod(Arc::new(Pod::from_json(body)?)),
        resource if *resource == DAEMON_SETS => News::DaemonSet(Arc::new(DaemonSet::from_json(body)?)),
        _ => News::Revision(Arc::new(ControllerRevision::from_json(body)?)),
    })
}

fn gone(resource: &Resource, object: &ObjectRef) -> News {
    match resource {
        resource if *resource == PODS => News::PodGone(object.clone()),
        resource if *resource == CONTROLLER_REVISIONS => News::RevisionGone(object.clone()),
        _ => News::Nothing,
    }
}

/// Whether the answer to a DELETE is an object that is still there: it has a grace period, or finalizers.
fn takes_time(body: &Bytes) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        metadata: Metadata,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Metadata {
        deletion_timestamp: Option<IgnoredAny>,
        deletion_grace_period_seconds: Option<i64>,
        finalizers: Option<Vec<IgnoredAny>>,
    }
    let Ok(Answer { metadata }) = serde_json::from_slice(body) else { return false };
    let waits = metadata.deletion_grace_period_seconds.is_some_and(|seconds| seconds > 0);
    let held = metadata.finalizers.is_some_and(|finalizers| !finalizers.is_empty());
    metadata.deletion_timestamp.is_some() && (waits || held)
}

fn adoption(daemonset: &DaemonSet, object: &ObjectRef) -> Change {
    let mut metadata = exactly(object);
    metadata["ownerReferences"] = json!([owner_reference(&daemonset.meta.name, &daemonset.meta.uid)]);
    Change { patch: Patch::Strategic, body: json!({ "metadata": metadata }) }
}

fn release(daemonset: &DaemonSet, object: &ObjectRef) -> Change {
    let mut metadata = exactly(object);
    metadata["ownerReferences"] = json!([{ "$patch": "delete", "uid": daemonset.meta.uid }]);
    Change { patch: Patch::Strategic, body: json!({ "metadata": metadata }) }
}

fn label(hash: &str) -> Value {
    json!({ "metadata": { "labels": { HASH_LABEL: hash } } })
}
