//! Failures that are not about one object: unsuitable options, and answers without a reason.

use std::collections::BTreeSet;

use backstay_api::status::{Cause, Details};
use backstay_api::validation::invalid_kind;
use backstay_api::{Reason, Status};

/// The group of `ListOptions`, `PatchOptions`...
const META_GROUP: &str = "meta.k8s.io";

pub fn required(field: &str, why: &str) -> Cause {
    let message = if why.is_empty() { "Required value".to_string() } else { format!("Required value: {why}") };
    cause("FieldValueRequired", field, message)
}

pub fn forbidden(field: &str, why: &str) -> Cause {
    cause("FieldValueForbidden", field, format!("Forbidden: {why}"))
}

/// `value` as Go's `%v` (or quoted, for strings) shows it.
pub fn invalid(field: &str, value: &str, why: &str) -> Cause {
    cause("FieldValueInvalid", field, format!("Invalid value: {value}: {why}"))
}

pub fn too_long(field: &str, bytes_max: usize) -> Cause {
    cause("FieldValueTooLong", field, format!("Too long: may not be more than {bytes_max} bytes"))
}

pub fn unsupported(field: &str, value: &str, supported: &[&str]) -> Cause {
    let supported: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
    let message = format!("Unsupported value: {value:?}: supported values: {}", supported.join(", "));
    cause("FieldValueNotSupported", field, message)
}

fn cause(reason: &str, field: &str, message: String) -> Cause {
    Cause { reason: reason.into(), message, field: field.into() }
}

/// 422 about options such as `ListOptions`; `Ok` if there is nothing to say.
pub fn invalid_options(kind: &str, causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() { Ok(()) } else { Err(invalid_kind(META_GROUP, kind, "", causes)) }
}

/// One error, or several in brackets; each text once.
pub fn join(causes: &[Cause]) -> String {
    let mut met = BTreeSet::new();
    let texts = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message));
    let texts: Vec<String> = texts.filter(|text| met.insert(text.clone())).collect();
    match texts.as_slice() {
        [text] => text.clone(),
        texts => format!("[{}]", texts.join(", ")),
    }
}

/// A failure that Kubernetes did not foresee as one: 500 with a bare message.
pub fn unexpected(message: impl Into<String>) -> Status {
    Status::with_code(500, None, message)
}

/// What the router answers, before any object is looked at.
fn generic(reason: Reason, message: &str) -> Status {
    Status::new(reason, message).details(Details::default())
}

pub fn method_not_allowed() -> Status {
    generic(Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
}

pub fn unsupported_media_type(message: &str) -> Status {
    generic(Reason::UnsupportedMediaType, message)
}

pub fn not_acceptable(message: &str) -> Status {
    generic(Reason::NotAcceptable, message)
}

/// 504 of a resource version that does not exist yet.
pub fn too_large_resource_version(asked: u64, current: u64) -> Status {
    let cause = cause("ResourceVersionTooLarge", "", "Too large resource version".into());
    let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
    let details = Details { causes: vec![cause], retry_after_seconds: Some(1), ..Details::default() };
    Status::new(Reason::Timeout, message).details(details)
}

/// 410 of a resource version that is no longer kept.
pub fn expired(message: impl Into<String>) -> Status {
    Status::new(Reason::Expired, message)
}
