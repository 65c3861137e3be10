//! Create: a new object under its own or a generated name.

use std::sync::Arc;

use backstay_api::managed::{self, Manager};
use backstay_api::{Reason, Status, meta, strategy, validation};
use backstay_store::{Encoded, Operation, StoreError};
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
        _ => commit(call, options, &stored, object, beside).await.map_err(Status::from),
    }
}

/// Why an object was not created.
enum NotCreated {
    /// Its name is taken. It itself is here, for a try with another one.
    Taken {
        status: Status,
        value: Encoded,
    },
    Failed(Status),
}

impl From<NotCreated> for Status {
    fn from(why: NotCreated) -> Self {
        match why {
            NotCreated::Taken { status, .. } | NotCreated::Failed(status) => status,
        }
    }
}

impl From<Status> for NotCreated {
    fn from(status: Status) -> Self {
        NotCreated::Failed(status)
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
        match commit(call, options, stored, object, beside).await {
            Err(NotCreated::Taken { value, .. }) if left > 0 => object = encode::decoded(&value),
            result => return result.map_err(Status::from),
        }
    }
}

/// The object is freed before the store answers: another thread may go on then, to which its many parts are foreign.
async fn commit(
    call: &Call,
    options: &WriteOptions,
    stored: &Served,
    object: Value,
    beside: Option<&Beside<'_>>,
) -> Result<Written, NotCreated> {
    let found = stored.create_problems(&object, call.core.policy);
    if !found.causes.is_empty() {
        return Err(validation::invalid(&call.served.resource, meta::name(&object), found.causes).into());
    }
    validation::warnings(&stored.resource, &object, None).into_iter().for_each(|text| call.warnings.add(text));
    let (key, value) = (call.key(meta::name(&object)), stored.encode(&object));
    if options.dry_run {
        return match call.core.store.snapshot().get(&key) {
            Some(existing) => Err(NotCreated::Taken { status: taken(call, &encode::parse(&existing)), value }),
            None => Ok((201, Payload::Object(convert::to_served(&call.served, object)))),
        };
    }
    drop(object);
    match super::commit(call, key, Operation::Create { value: value.clone() }, beside).await {
        Ok(entry) => {
            accounts::after(&call.core, stored, &entry.key.namespace, &entry.key.name).await;
            Ok((201, Payload::Entry(entry)))
        }
        Err(StoreError::Exists { current, .. }) => {
            Err(NotCreated::Taken { status: taken(call, &encode::parse(&current)), value })
        }
        Err(error) => Err(store_failure(&error).into()),
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
