//! Update: from the state as stored to a new one, tried again when somebody else was quicker.

use std::sync::Arc;

use backstay_api::resources::Resource;
use backstay_api::{Reason, Status, managed, meta, strategy, validation};
use backstay_store::{Entry, Operation, StoreError};
use serde_json::Value;

use super::{Written, create, finalizers, metadata, modified, not_found, store_failure};
use crate::admission::{Admission, Event};
use crate::answer::Payload;
use crate::authz::{self, Action, Attributes, escalation, forbidden};
use crate::call::Call;
use crate::catalog::Served;
use crate::request::options::WriteOptions;
use crate::{accounts, convert, custom, encode, services};

/// An update that loses this many races in a row meets a store that does nothing else.
const ATTEMPTS_MAX: usize = 100;

/// Where the new state of an object comes from.
pub trait Change: Sync {
    /// The wanted object (served form, decoded and defaulted) given the present one; none is there on a create.
    fn apply(&self, present: Option<&Value>) -> Result<Value, Status>;

    /// The object may be created if it does not exist, whatever its kind.
    fn may_create(&self) -> bool {
        false
    }

    /// `apply` has written the managed fields itself.
    fn tracks_itself(&self) -> bool {
        false
    }

    /// Only an object with this uid is meant, if it is not empty.
    fn uid(&self) -> &str {
        ""
    }
}

/// A PUT: the body is the new state.
pub struct Replace(pub Value);

impl Change for Replace {
    fn apply(&self, _present: Option<&Value>) -> Result<Value, Status> {
        Ok(self.0.clone())
    }

    fn uid(&self) -> &str {
        meta::uid(&self.0)
    }
}

/// What came of one attempt.
enum Attempt {
    Done(Written),
    /// The object changed meanwhile.
    Raced,
}

/// Changes the object that the path names, or its subresource.
pub async fn update(call: &Call, options: &WriteOptions, change: &impl Change) -> Result<Written, Status> {
    let key = call.key(call.name());
    for _ in 0..ATTEMPTS_MAX {
        let attempt = match call.core.store.snapshot().get(&key) {
            Some(entry) => attempt(call, options, change, &entry).await?,
            None => absent(call, options, change).await?,
        };
        if let Attempt::Done(written) = attempt {
            return Ok(written);
        }
    }
    Err(modified(call, call.name()))
}

async fn absent(call: &Call, options: &WriteOptions, change: &impl Change) -> Result<Attempt, Status> {
    metadata::uid_precondition(call, change.uid(), &Value::Null)?;
    let may_create = change.may_create() || strategy::allows_create_on_update(&call.served.resource);
    if !may_create || call.subresource().is_some() {
        return Err(not_found(call, call.name()));
    }
    check_create(call)?;
    let mut object = change.apply(None)?;
    metadata::check_name(call, &object)?;
    let created = if change.tracks_itself() {
        metadata::refuse_uid(call, &object)?;
        create::create_tracked(call, options, object).await
    } else {
        // A PUT of something that is not there can name no version of it.
        meta::remove_meta(&mut object, "resourceVersion");
        create::create(call, options, object).await
    };
    match created {
        Err(status) if status.reason() == Some(Reason::AlreadyExists) => Ok(Attempt::Raced),
        result => result.map(Attempt::Done),
    }
}

/// An update that makes an object takes the right to create it, too. Source: `withAuthorization` of `rest`'s handlers.
fn check_create(call: &Call) -> Result<(), Status> {
    let Resource { group, plural, .. } = &call.served.resource;
    let resource = authz::Resource {
        group,
        resource: plural,
        subresource: "",
        namespace: call.target.namespace.as_deref().unwrap_or_default(),
        name: call.name(),
    };
    let attributes = Attributes { user: &call.user, verb: "create", action: Action::Resource(resource) };
    let decision = call.core.authorizer.authorize(&attributes);
    if decision.allowed { Ok(()) } else { Err(forbidden(&attributes, &decision.reason)) }
}

async fn attempt(
    call: &Call,
    options: &WriteOptions,
    change: &impl Change,
    entry: &Arc<Entry>,
) -> Result<Attempt, Status> {
    let kept = encode::parse(entry);
    let converted = convert::is_needed(&call.served).then(|| convert::to_served(&call.served, kept.clone()));
    let object = wanted(call, options, change, converted.as_ref().unwrap_or(&kept))?;
    let as_written_today = converted.and_then(|old| convert::stored_custom(&call.served, old));
    let old_stored = as_written_today.as_ref().unwrap_or(&kept);
    let (stored, mut object) = convert::to_stored(&call.core.catalog.contents(), &call.served, object)?;
    metadata::uid_precondition(call, change.uid(), old_stored)?;
    check_version(call, &mut object, entry)?;
    metadata::carry_over(&mut object, old_stored);
    strategy::prepare_for_update(&stored.resource, call.subresource(), &mut object, old_stored);
    let names = custom::settle(&call.core, &stored, &mut object).await;
    let addresses = services::reserve(call, &stored, &mut object).await?;
    let beside = names.as_ref().or(addresses.as_ref());
    check(call, &stored, &object, old_stored)?;
    managed::keep_times(old_stored, &mut object);
    if finalizers::is_finished(&stored, &object, old_stored) {
        return remove(call, options, &stored, object, old_stored, entry).await;
    }
    if object == kept {
        return Ok(Attempt::Done((200, Payload::Entry(entry.clone()))));
    }
    if options.dry_run {
        return Ok(Attempt::Done((200, Payload::Object(convert::to_served(&call.served, object)))));
    }
    let operation = Operation::Update { value: stored.encode(&object), expected: entry.revision };
    // Freed before the store answers: another thread may go on then, to which their many parts are foreign.
    drop((object, as_written_today, kept));
    match super::commit(call, entry.key.clone(), operation, beside).await {
        Ok(entry) => {
            accounts::after(&call.core, &stored, &entry.key.namespace, &entry.key.name).await;
            Ok(Attempt::Done((200, Payload::Entry(entry))))
        }
        Err(StoreError::Conflict { .. } | StoreError::NotFound { .. } | StoreError::Overtaken { .. }) => {
            Ok(Attempt::Raced)
        }
        Err(error) => Err(store_failure(&error)),
    }
}

/// The new state as the client wants it, with managed fields and after admission.
fn wanted(call: &Call, options: &WriteOptions, change: &impl Change, old: &Value) -> Result<Value, Status> {
    let mut object = change.apply(Some(old))?;
    metadata::check_name(call, &object)?;
    metadata::settle_namespace(call, &mut object)?;
    metadata::dedup_owners(call, &mut object);
    if !change.tracks_itself() {
        let manager = create::manager(call, options);
        managed::track_update(&call.served.schema, &call.served.ty, Some(old), &mut object, &manager);
    }
    call.core.admission.admit(&mut Admission::new(call, Event::Update { old }, &mut object))?;
    escalation::check(&call.core.authorizer.rules(), &call.user, &object, Some(old))?;
    Ok(object)
}

/// The object must be based on the version that is stored; one that names none is taken to be, where that is allowed.
fn check_version(call: &Call, object: &mut Value, entry: &Entry) -> Result<(), Status> {
    match metadata::resource_version(object)? {
        Some(version) if version == entry.revision => return Ok(()),
        Some(_) => return Err(modified(call, call.name())),
        None if strategy::allows_unconditional_update(&call.served.resource) => {}
        // Validation says that it must be there.
        None => return Ok(()),
    }
    meta::set_meta(object, "resourceVersion", entry.revision.to_string());
    Ok(())
}

fn check(call: &Call, stored: &Served, object: &Value, old: &Value) -> Result<(), Status> {
    let found = stored.update_problems(call.subresource(), object, old, call.core.policy);
    found.warnings.into_iter().for_each(|text| call.warnings.add(text));
    if !found.causes.is_empty() {
        return Err(validation::invalid(&call.served.resource, call.name(), found.causes));
    }
    validation::warnings(&stored.resource, object, Some(old)).into_iter().for_each(|text| call.warnings.add(text));
    Ok(())
}

/// The last finalizer of an object in deletion is gone, and so it goes. Watchers see its last stored state.
async fn remove(
    call: &Call,
    options: &WriteOptions,
    stored: &Served,
    mut object: Value,
    old: &Value,
    entry: &Arc<Entry>,
) -> Result<Attempt, Status> {
    if !options.dry_run {
        let operation = Operation::Delete { last: stored.encode(old), expected: entry.revision };
        match call.core.store.commit(entry.key.clone(), operation).await {
            Ok(gone) => {
                meta::set_meta(&mut object, "resourceVersion", gone.revision.to_string());
                accounts::after(&call.core, stored, &entry.key.namespace, &entry.key.name).await;
                custom::clean_up_after(&call.core, stored).await;
            }
            Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => return Ok(Attempt::Raced),
            Err(error) => return Err(store_failure(&error)),
        }
    }
    Ok(Attempt::Done((200, Payload::Object(convert::to_served(&call.served, object)))))
}
