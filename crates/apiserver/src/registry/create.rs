//! Create: a new object under its own or a generated name.

use std::sync::Arc;

use backstay_api::managed::{self, Manager};
use backstay_api::{Reason, Status, meta, strategy, validation};
use backstay_store::{Operation, StoreError};
use serde_json::Value;

use super::{Beside, Written, metadata, store_failure};
use crate::admission::{Admission, Event};
use crate::answer::Payload;
use crate::authz::escalation;
use crate::call::Call;
use crate::catalog::Served;
use crate::request::options::WriteOptions;
use crate::{accounts, convert, custom, encode, problem, services};

/// Names tried before a create with `generateName` gives up. Source: `maxNameGenerationCreateAttempts`.
const GENERATED_NAMES_MAX: usize = 8;

/// Creates an object whose managed fields are to be written yet.
pub async fn create(call: &Call, options: &WriteOptions, mut object: Value) -> Result<Written, Status> {
    metadata::settle_namespace(call, &mut object)?;
    metadata::dedup_owners(call, &mut object);
    let manager = manager(call, options);
    let Served { schema, ty, .. } = &*call.served;
    managed::track_create(schema, ty, &mut object, &manager, call.core.tracked_from);
    create_tracked(call, options, object).await
}

/// Creates an object whose managed fields are written (by server-side apply).
pub async fn create_tracked(call: &Call, options: &WriteOptions, mut object: Value) -> Result<Written, Status> {
    custom::refuse_create(call)?;
    metadata::settle_namespace(call, &mut object)?;
    if metadata::resource_version(&object)?.is_some() {
        return Err(problem::unexpected("resourceVersion should not be set on objects to be created"));
    }
    call.core.admission.admit(&mut Admission::new(call, Event::Create, &mut object))?;
    escalation::check(&call.core.authorizer.rules(), &call.user, &object, None)?;
    let (stored, mut object) = convert::to_stored(&call.core.catalog.contents(), &call.served, object)?;
    metadata::begin(&mut object, call.core.clock.now(), call.core.entropy.uuid());
    strategy::prepare_for_create(&stored.resource, &mut object);
    let names = custom::settle(&call.core, &stored, &mut object).await;
    let addresses = services::reserve(call, &stored, &mut object).await?;
    let beside = names.as_ref().or(addresses.as_ref());
    match meta::str_at(&object, &["metadata", "generateName"]).to_string() {
        base if !base.is_empty() && meta::name(&object).is_empty() => {
            generated_name(call, options, &stored, object, &base, beside).await
        }
        _ => commit(call, options, &stored, &object, beside).await,
    }
}

async fn generated_name(
    call: &Call,
    options: &WriteOptions,
    stored: &Arc<Served>,
    mut object: Value,
    base: &str,
    beside: Option<&Beside<'_>>,
) -> Result<Written, Status> {
    let mut left = GENERATED_NAMES_MAX;
    loop {
        meta::set_meta(&mut object, "name", metadata::generate_name(base, &call.core.entropy));
        left -= 1;
        match commit(call, options, stored, &object, beside).await {
            Err(status) if status.reason() == Some(Reason::AlreadyExists) && left > 0 => continue,
            result => return result,
        }
    }
}

async fn commit(
    call: &Call,
    options: &WriteOptions,
    stored: &Served,
    object: &Value,
    beside: Option<&Beside<'_>>,
) -> Result<Written, Status> {
    let found = stored.create_problems(object, call.core.policy);
    if !found.causes.is_empty() {
        return Err(validation::invalid(&call.served.resource, meta::name(object), found.causes));
    }
    validation::warnings(&stored.resource, object, None).into_iter().for_each(|text| call.warnings.add(text));
    let key = call.key(meta::name(object));
    if options.dry_run {
        return match call.core.store.snapshot().get(&key) {
            Some(existing) => Err(taken(call, &encode::parse(&existing))),
            None => Ok((201, Payload::Object(convert::to_served(&call.served, object.clone())))),
        };
    }
    let value = stored.encode(object);
    match super::commit(call, key, Operation::Create { value }, beside).await {
        Ok(entry) => {
            accounts::follow(&call.core, stored, &entry.key.namespace, &entry.key.name).await?;
            Ok((201, Payload::Entry(entry)))
        }
        Err(StoreError::Exists { current, .. }) => Err(taken(call, &encode::parse(&current))),
        Err(error) => Err(store_failure(&error)),
    }
}

fn taken(call: &Call, existing: &Value) -> Status {
    let resource = &call.served.resource;
    let status = Status::already_exists(&resource.group, &resource.plural, meta::name(existing));
    if !meta::is_being_deleted(existing) {
        return status;
    }
    let message = format!("object is being deleted: {}", status.message());
    Status::new(Reason::AlreadyExists, message).details(status.get_details().cloned().unwrap_or_default())
}

/// Who writes, for the managed fields.
pub fn manager<'a>(call: &'a Call, options: &'a WriteOptions) -> Manager<'a> {
    Manager {
        name: &options.manager,
        resource: &call.served.resource,
        subresource: call.subresource().unwrap_or_default(),
        now: call.core.clock.now(),
    }
}
