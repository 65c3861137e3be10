//! Objects in the store: creating, reading, changing and deleting them under Kubernetes' rules.
//!
//! Knows nothing of HTTP. Every function takes the [`Call`] it serves; objects come in decoded and defaulted, in the
//! served form, and go out as [`Payload`]s.

pub mod collection;
pub mod create;
pub mod delete;
pub mod finalizers;
pub mod list;
pub mod metadata;
pub mod past;
pub mod patch;
pub mod update;

use std::sync::Arc;

use backstay_api::status::Details;
use backstay_api::{Reason, Status};
use backstay_store::{Entry, Key, Operation, Revision, StoreError};
use tokio::sync::MutexGuard;

use crate::answer::Payload;
use crate::call::Call;

/// What a write answers: the HTTP code and the object.
pub type Written = (u16, Payload);

/// The object that the path names.
pub fn get(call: &Call) -> Result<Arc<Entry>, Status> {
    find(call, call.name())
}

/// The object that the path names, at a state that is not older than the client asks for.
pub async fn get_fresh(call: &Call) -> Result<Arc<Entry>, Status> {
    if let Some(revision) = metadata::parse_version(call.query.text("resourceVersion"))? {
        list::not_older_than(call, revision).await?;
    }
    get(call)
}

/// The object of this name, in the namespace of the call.
pub fn find(call: &Call, name: &str) -> Result<Arc<Entry>, Status> {
    call.core.store.snapshot().get(&call.key(name)).ok_or_else(|| not_found(call, name))
}

pub fn not_found(call: &Call, name: &str) -> Status {
    let resource = &call.served.resource;
    Status::not_found(&resource.group, &resource.plural, name)
}

/// The 409 of somebody who has not seen the latest version.
pub fn modified(call: &Call, name: &str) -> Status {
    let resource = &call.served.resource;
    Status::modified(&resource.group, &resource.plural, name)
}

/// Held from looking at the others of a resource until an object is written that must go with them.
pub struct Beside<'a> {
    /// The others were looked at as of then.
    pub seen: Revision,
    pub _turn: MutexGuard<'a, ()>,
}

/// Writes an object, which may have to go with others.
pub async fn commit(
    call: &Call,
    key: Key,
    operation: Operation,
    beside: Option<&Beside<'_>>,
) -> Result<Arc<Entry>, StoreError> {
    match beside {
        Some(beside) => call.core.store.commit_beside(key, operation, beside.seen).await,
        None => call.core.store.commit(key, operation).await,
    }
}

/// What a client is told when the store refuses for reasons of its own.
pub fn store_failure(error: &StoreError) -> Status {
    let reason = match error {
        StoreError::TooLarge { .. } => return Status::new(Reason::RequestEntityTooLarge, error.to_string()),
        StoreError::Overtaken { .. } => Reason::ServerTimeout,
        StoreError::Unavailable { .. } => Reason::ServiceUnavailable,
        StoreError::Uncertain { .. } => Reason::Timeout,
        _ => Reason::InternalError,
    };
    tracing::error!(error = %error, "the store refuses");
    let status = Status::new(reason, error.to_string());
    match reason {
        Reason::InternalError => Status::internal(error),
        // Nothing has happened, so that clients may try again by themselves. If perhaps it has, they must look first.
        Reason::ServiceUnavailable | Reason::ServerTimeout => {
            status.details(Details { retry_after_seconds: Some(1), ..Details::default() })
        }
        _ => status,
    }
}
