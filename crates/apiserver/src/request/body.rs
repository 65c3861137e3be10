//! Request bodies: reading them within the limit, and decoding them as the kind that the path names.

use axum::body::Body;
use backstay_api::decode::{self, Decoded, FieldValidation};
use backstay_api::schema::{self, Type};
use backstay_api::{GroupVersionKind, Reason, Status, strategy};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use crate::call::{Call, Warnings};
use crate::catalog::Served;

/// The types of bodies that hold an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

/// The whole body, if it is not longer than allowed.
pub async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Status> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("Request entity too large: limit is {bytes_max}");
            Err(Status::new(Reason::RequestEntityTooLarge, message))
        }
        Err(error) => Err(Status::bad_request(format!("unable to read the request body: {error}"))),
    }
}

impl Encoding {
    /// From a Content-Type; none means JSON.
    pub fn of(content_type: &str) -> Result<Self, Status> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "" | "application/json" => Ok(Encoding::Json),
            "application/yaml" => Ok(Encoding::Yaml),
            "application/vnd.kubernetes.protobuf" => Ok(Encoding::Protobuf),
            _ => Err(unsupported("application/json, application/yaml, application/vnd.kubernetes.protobuf")),
        }
    }
}

fn unsupported(accepted: &str) -> Status {
    let message = "the body of the request was in an unknown format - accepted media types include: ";
    Status::new(Reason::UnsupportedMediaType, format!("{message}{accepted}"))
}

/// The body of a create or an update as an object of the served kind: decoded, checked and defaulted.
pub fn object(call: &Call, validation: FieldValidation) -> Result<Value, Status> {
    decode_as(&call.served, &call.content_type, &call.body, validation, &call.warnings)
}

/// A body as an object of a kind; the rules are those of [`object`].
pub fn decode_as(
    served: &Served,
    content_type: &str,
    body: &[u8],
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<Value, Status> {
    let gvk = served.resource.gvk();
    let encoding = Encoding::of(content_type)?;
    if encoding == Encoding::Protobuf && served.custom.is_some() {
        return Err(unsupported("application/json, application/yaml"));
    }
    let decoded = match encoding {
        Encoding::Json => decode::json(&served.schema, &served.ty, body)?,
        Encoding::Yaml => decode::yaml(&served.schema, &served.ty, body)?,
        Encoding::Protobuf => decode::protobuf(&served.schema, &served.ty, body)?,
    };
    if validation == FieldValidation::Strict
        && let Some(refused) = decoded.strict_error(&gvk)
    {
        return Err(refused);
    }
    if let Some(why) = strategy::conversion_error(&served.resource, &decoded.object) {
        let GroupVersionKind { version, kind, .. } = &gvk;
        let message = format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}");
        return Err(Status::bad_request(message));
    }
    report(validation, &decoded.problems, warnings);
    Ok(defaulted(served, decoded.object))
}

fn report(validation: FieldValidation, problems: &[String], warnings: &Warnings) {
    if validation == FieldValidation::Warn {
        problems.iter().for_each(|problem| warnings.add(problem));
    }
}

fn defaulted(served: &Served, mut object: Value) -> Value {
    served.apply_defaults(&mut object);
    object
}

/// A body whose kind the path does not name, such as `DeleteOptions`: any object.
pub fn loose(call: &Call) -> Result<Value, Status> {
    let read = match Encoding::of(&call.content_type)? {
        Encoding::Json => decode::json_value(&call.body),
        Encoding::Yaml => decode::yaml_value(&call.body),
        Encoding::Protobuf => return delete_options(&call.body),
    };
    match read.map_err(Status::bad_request)? {
        (object @ Value::Object(_), _) => Ok(object),
        _ => Err(Status::bad_request("the body is not an object")),
    }
}

fn delete_options(body: &[u8]) -> Result<Value, Status> {
    let schema = schema::builtin();
    match schema.find("meta.v1.DeleteOptions") {
        Some(id) => Ok(decode::protobuf(schema, &Type::Struct { id }, body)?.object),
        None => Err(Status::bad_request("DeleteOptions as protobuf cannot be read")),
    }
}

/// The result of a patch of `present`, brought into the form of the kind: decoded, checked and defaulted.
///
/// # Errors
/// `BadRequest` with the bare sentence of the decoder.
pub fn patched(call: &Call, present: Option<&Value>, object: Value) -> Result<Decoded, Status> {
    let Served { schema, ty, .. } = &*call.served;
    let Decoded { object, problems } = match present {
        Some(present) => decode::changed(schema, ty, present, object)?,
        None => decode::value(schema, ty, object)?,
    };
    if let Some(why) = strategy::conversion_error(&call.served.resource, &object) {
        return Err(Status::bad_request(why));
    }
    Ok(Decoded { object: defaulted(&call.served, object), problems })
}
