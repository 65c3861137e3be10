//! Delete: at once, or marked for a grace period or finalizers.

use backstay_api::{Reason, Status, crd, meta, time};
use backstay_store::{Entry, Operation, StoreError};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{finalizers, not_found, store_failure};
use crate::admission::{Admission, Event};
use crate::answer::Payload;
use crate::call::Call;
use crate::catalog::Served;
use crate::request::options::DeleteOptions;
use crate::{accounts, convert, custom, encode};

/// A delete that loses this many races in a row meets a store that does nothing else.
const ATTEMPTS_MAX: usize = 100;

/// Kinds whose delete answers with the object instead of a `Status`. Source: `ReturnDeletedObject` of the registries of
/// Kubernetes 1.36.
const RETURNED: [(&str, &str); 11] = [
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
];

/// What is left of an object after a delete.
#[derive(Debug)]
pub enum Deleted {
    /// Gone; the answer is a success `Status`.
    Gone { name: String, uid: String },
    /// Gone; the answer is its last state.
    Last(Payload),
    /// Still there, waiting for finalizers or the end of its grace period.
    Pending(Payload),
}

/// What a delete does to an object.
#[derive(Debug, PartialEq)]
enum Step {
    /// It is being deleted already.
    Nothing,
    /// It stays, in this state.
    Mark(Value),
    /// It goes, with this as its last state.
    Remove(Value),
}

/// Deletes one object of the call's resource, and does what follows from that.
pub async fn delete(call: &Call, options: &DeleteOptions, name: &str) -> Result<Deleted, Status> {
    let deleted = delete_only(call, options, name).await?;
    match &deleted {
        Deleted::Pending(_) if custom::is_definition(&call.served) => custom::begin_clean_up(&call.core, name).await,
        Deleted::Pending(_) => {}
        Deleted::Gone { .. } | Deleted::Last(_) => {
            accounts::after(&call.core, &call.served, call.namespace(), name).await;
            custom::clean_up_after(&call.core, &call.served).await;
        }
    }
    Ok(deleted)
}

/// Deletes one object of the call's resource.
pub async fn delete_only(call: &Call, options: &DeleteOptions, name: &str) -> Result<Deleted, Status> {
    let key = call.key(name);
    call.core.admission.admit(&mut Admission::new(call, Event::Delete { name }, &mut Value::Null))?;
    for _ in 0..ATTEMPTS_MAX {
        let entry = call.core.store.snapshot().get(&key).ok_or_else(|| not_found(call, name))?;
        let object = encode::parse(&entry);
        check_preconditions(&call.served, options, &object)?;
        let contents = call.core.catalog.contents();
        let stored = contents.stored_form(&call.served);
        let now = call.core.clock.now();
        let was_being_deleted = meta::is_being_deleted(&object);
        let (operation, is_mark) = match plan(&stored, options, object, now) {
            Step::Nothing => return Ok(Deleted::Pending(Payload::Entry(entry))),
            Step::Mark(marked) if was_being_deleted && is_kept(&stored, &marked, &entry) => {
                return Ok(Deleted::Pending(Payload::Entry(entry)));
            }
            Step::Mark(marked) if options.dry_run => return Ok(Deleted::Pending(payload(call, marked))),
            Step::Remove(last) if options.dry_run => return Ok(gone(call, payload(call, last))),
            Step::Mark(marked) => (Operation::Update { value: stored.encode(&marked), expected: entry.revision }, true),
            Step::Remove(last) => (Operation::Delete { last: stored.encode(&last), expected: entry.revision }, false),
        };
        match call.core.store.commit(key.clone(), operation).await {
            Ok(entry) if is_mark => return Ok(Deleted::Pending(Payload::Entry(entry))),
            Ok(entry) => return Ok(gone(call, Payload::Entry(entry))),
            Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(store_failure(&error)),
        }
    }
    Err(super::modified(call, name))
}

fn payload(call: &Call, stored: Value) -> Payload {
    Payload::Object(convert::to_served(&call.served, stored))
}

fn gone(call: &Call, last: Payload) -> Deleted {
    let resource = &call.served.resource;
    if RETURNED.contains(&(resource.group.as_str(), resource.plural.as_str())) {
        return Deleted::Last(last);
    }
    let object = last.into_value(call);
    Deleted::Gone { name: meta::name(&object).into(), uid: meta::uid(&object).into() }
}

/// The body of an answer about an object that is gone.
pub fn success(call: &Call, name: &str, uid: &str) -> Value {
    let resource = &call.served.resource;
    let mut details = json!({ "name": name, "kind": resource.plural, "uid": uid });
    if !resource.group.is_empty() {
        details["group"] = json!(resource.group);
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

fn check_preconditions(served: &Served, options: &DeleteOptions, object: &Value) -> Result<(), Status> {
    let (uid, version) = (meta::uid(object), meta::resource_version(object));
    let why = match (&options.uid, &options.resource_version) {
        (Some(wanted), _) if wanted != uid => format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). \
             The object might have been deleted and then recreated"
        ),
        (_, Some(wanted)) if wanted != version => format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record \
             ({version}). The object might have been modified"
        ),
        _ => return Ok(()),
    };
    // Kubernetes names the kind here, not the resource.
    Err(Status::conflict(&served.resource.group, &served.resource.kind, meta::name(object), &why))
}

/// Whether the object is as it is in the store.
fn is_kept(served: &Served, object: &Value, entry: &Entry) -> bool {
    served.encode(object).at(entry.revision) == entry.value
}

fn plan(served: &Served, options: &DeleteOptions, mut object: Value, now: Timestamp) -> Step {
    if served.is("", "namespaces") {
        if !meta::is_being_deleted(&object) {
            return Step::Mark(terminating(options, object, now));
        }
        if !meta::list_at(&object, &["spec", "finalizers"]).is_empty() {
            return Step::Nothing;
        }
    }
    if custom::is_definition(served) {
        crd::begin_deletion(&mut object, now);
    }
    let grace = match served.is("", "pods") {
        true => grace(options, &mut object, now),
        false => Grace::None,
    };
    if grace == Grace::Pending {
        return Step::Nothing;
    }
    let finalizers = finalizers::on_delete(&object, options);
    let pending = !finalizers.is_empty();
    set_finalizers(&mut object, finalizers);
    match grace {
        Grace::Seconds(seconds) if pending || seconds > 0 => Step::Mark(object),
        Grace::Seconds(_) | Grace::Pending => Step::Remove(object),
        Grace::None if pending => Step::Mark(marked(object, now)),
        Grace::None => Step::Remove(object),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Grace {
    /// This kind, or this object in this state, has no grace period.
    None,
    /// A grace period is running that this delete does not shorten.
    Pending,
    /// The object has been given this long from now.
    Seconds(i64),
}

/// Gives a pod its grace period, or shortens it. Source: `rest.BeforeDelete`, `podStrategy.CheckGracefulDelete`.
fn grace(options: &DeleteOptions, pod: &mut Value, now: Timestamp) -> Grace {
    if meta::is_being_deleted(pod) {
        return shorten(options, pod, now);
    }
    let seconds = grace_seconds(options, pod);
    meta::set_meta(pod, "deletionTimestamp", time::seconds(later(now, seconds).unwrap_or(Timestamp::MAX)));
    meta::set_meta(pod, "deletionGracePeriodSeconds", seconds);
    count_generation(pod);
    Grace::Seconds(seconds)
}

fn shorten(options: &DeleteOptions, pod: &mut Value, now: Timestamp) -> Grace {
    let running = meta::int_at(pod, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
    if running == 0 {
        return Grace::None;
    }
    let Some(seconds) = options.grace_period_seconds.filter(|seconds| *seconds < running) else {
        return Grace::Pending;
    };
    if let Ok(end) = meta::str_at(pod, &["metadata", "deletionTimestamp"]).parse::<Timestamp>() {
        // Of a grace beyond all time nobody knows when it began.
        let begun = later(end, -running).filter(|begun| *begun > Timestamp::UNIX_EPOCH).unwrap_or(now);
        meta::set_meta(pod, "deletionTimestamp", time::seconds(later(begun, seconds).unwrap_or(Timestamp::MAX)));
    }
    meta::set_meta(pod, "deletionGracePeriodSeconds", seconds);
    Grace::Seconds(seconds)
}

/// `None`: beyond all time.
fn later(at: Timestamp, seconds: i64) -> Option<Timestamp> {
    at.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// What is asked for, else what the pod says; a pod that never ran or has ended needs none.
fn grace_seconds(options: &DeleteOptions, pod: &Value) -> i64 {
    let own = meta::int_at(pod, &["spec", "terminationGracePeriodSeconds"]);
    let ended = matches!(meta::str_at(pod, &["status", "phase"]), "Succeeded" | "Failed");
    if meta::str_at(pod, &["spec", "nodeName"]).is_empty() || ended {
        return 0;
    }
    match options.grace_period_seconds.or(own).unwrap_or(0) {
        // "At once" is asked for with one second, so that the node still hears of it.
        seconds if seconds < 0 => 1,
        seconds => seconds,
    }
}

/// Marks an object that only waits for its finalizers. Source: `markAsDeleting`.
fn marked(mut object: Value, now: Timestamp) -> Value {
    if !meta::is_being_deleted(&object) {
        count_generation(&mut object);
        meta::set_meta(&mut object, "deletionTimestamp", time::seconds(now));
    }
    meta::set_meta(&mut object, "deletionGracePeriodSeconds", 0);
    object
}

/// A namespace stays until its content is gone. Source: the namespace registry's `Delete`.
fn terminating(options: &DeleteOptions, mut namespace: Value, now: Timestamp) -> Value {
    meta::set_meta(&mut namespace, "deletionTimestamp", time::seconds(now));
    meta::map_mut(&mut namespace, &["status"]).insert("phase".into(), json!("Terminating"));
    let finalizers = finalizers::on_delete(&namespace, options);
    set_finalizers(&mut namespace, finalizers);
    namespace
}

fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    if finalizers.is_empty() {
        meta::remove_meta(object, "finalizers");
    } else {
        meta::set_meta(object, "finalizers", finalizers);
    }
}

/// Controllers behave differently once an object is being deleted; its generation says so.
fn count_generation(object: &mut Value) {
    let generation = meta::generation(object);
    if generation > 0 {
        meta::set_meta(object, "generation", generation + 1);
    }
}

/// Whether a delete in a collection may be passed over: the object went by itself.
pub fn is_gone(status: &Status) -> bool {
    status.reason() == Some(Reason::NotFound)
}
