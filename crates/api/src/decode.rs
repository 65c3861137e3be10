//! Turns request bodies into objects: JSON, YAML and protobuf, checked against the type's schema.
//!
//! Every form is read into a `tree` first, which remembers the order of fields and fields that occur twice; `typed`
//! then brings the tree into the form in which Go would write the object back, and says what is wrong in Go's words.

mod base64_text;
mod parse;
mod protobuf;
mod scalar;
mod time;
mod tree;
mod typed;
mod yaml;

use std::fmt::Write;

use serde_json::Value;

pub(crate) use self::protobuf::leading_field;
use crate::schema::{Schema, Type};
use crate::{GroupVersionKind, Status, resources, schema};

use self::parse::ParseError;
pub use self::parse::{DEPTH_MAX, TOO_DEEP};
use self::tree::Tree;

/// What to do about unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Strict,
    Warn,
    Ignore,
}

/// An object in the form Go would write it back: unknown fields dropped, nulls and empty optional values dropped,
/// quantities and times in canonical form, `apiVersion` and `kind` those of the type.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub object: Value,
    /// Unknown and duplicate fields in Go's words: `unknown field "spec.foo"`, in the order Kubernetes lists them.
    pub problems: Vec<String>,
}

impl Decoded {
    /// The refusal of `fieldValidation=Strict`, if there are problems.
    pub fn strict_error(&self, ty: &GroupVersionKind) -> Option<Status> {
        if self.problems.is_empty() {
            return None;
        }
        Some(unusable(ty, ty, &format!("strict decoding error: {}", self.problems.join(", "))))
    }
}

/// Reads a JSON body as the type. A body without `apiVersion` and `kind` is taken to be of the type.
///
/// # Errors
/// `BadRequest` in Go's words for broken JSON, for values of the wrong type and for objects of another kind.
pub fn json(schema: &Schema, ty: &Type, body: &[u8]) -> Result<Decoded, Status> {
    match parse::json(body) {
        Ok(tree) => object(schema, ty, tree, body, Vec::new()),
        Err(ParseError(message)) => Err(unrecognized(schema, ty, &format!("{NO_KIND}{message}"), body)),
    }
}

/// Reads a YAML body as the type.
///
/// # Errors
/// As [`json`].
pub fn yaml(schema: &Schema, ty: &Type, body: &[u8]) -> Result<Decoded, Status> {
    match yaml::read(body) {
        Ok((tree, duplicates)) => object(schema, ty, tree, body, duplicates),
        Err(ParseError(message)) => Err(unrecognized(schema, ty, &message, body)),
    }
}

/// Reads a protobuf body (`k8s\0` and a `runtime.Unknown`) as the type.
///
/// # Errors
/// As [`json`], in the words of the protobuf decoder.
pub fn protobuf(schema: &Schema, ty: &Type, body: &[u8]) -> Result<Decoded, Status> {
    let envelope = match protobuf::envelope(body) {
        Ok(envelope) => envelope,
        Err(message) => return Err(unrecognized(schema, ty, &message, body)),
    };
    let expected = expected_kind(schema, ty);
    let actual = actual_kind(expected.as_ref(), &envelope.api_version, &envelope.kind);
    check_kind(expected.as_ref(), actual.as_ref(), |_| Ok(()))?;
    let tree = protobuf::object(schema, ty, envelope.raw).map_err(|message| failure(actual.as_ref(), &message))?;
    let decoded = typed::decode(schema, ty, tree).map_err(|message| failure(actual.as_ref(), &message))?;
    // Messages nest less deep than the JSON that says the same, and raw JSON in them begins anew.
    if is_deeper(&decoded.object, DEPTH_MAX) {
        return Err(failure(actual.as_ref(), TOO_DEEP));
    }
    Ok(named(decoded, actual.as_ref()))
}

/// Brings an object that is already parsed (the result of a patch) into the same form, with the same checks.
///
/// # Errors
/// `BadRequest` whose message is the bare sentence of the JSON decoder, for callers to put into theirs.
pub fn value(schema: &Schema, ty: &Type, object: Value) -> Result<Decoded, Status> {
    if is_deeper(&object, DEPTH_MAX) {
        return Err(Status::bad_request(TOO_DEEP));
    }
    let decoded = typed::decode(schema, ty, Tree::from(object)).map_err(Status::bad_request)?;
    Ok(named(decoded, expected_kind(schema, ty).as_ref()))
}

/// The same, for an object that was made out of `before`, which is in that form: the fields at the top that did not
/// change are not looked at again.
///
/// # Errors
/// As [`value`].
pub fn changed(schema: &Schema, ty: &Type, before: &Value, object: Value) -> Result<Decoded, Status> {
    let (fields, before) = match (object, before) {
        (Value::Object(fields), Value::Object(before)) => (fields, before),
        (object, _) => return value(schema, ty, object),
    };
    let is_same = |(name, value): &(String, Value)| before.get(name) == Some(value);
    let (same, changed): (Vec<_>, Vec<_>) = fields.into_iter().partition(is_same);
    let mut decoded = value(schema, ty, Value::Object(changed.into_iter().collect()))?;
    if let Value::Object(fields) = &mut decoded.object {
        fields.extend(same);
    }
    Ok(decoded)
}

/// The value of a YAML (or JSON) text as it stands, with the duplicate keys that a strict reader complains about.
/// Only the first document is read.
///
/// # Errors
/// The message of a YAML or conversion error.
pub fn yaml_value(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    let (tree, duplicates) = yaml::read(body).map_err(|ParseError(message)| message)?;
    Ok((tree.into_value(), duplicates))
}

/// The value of a JSON text as it stands, and its duplicate fields (`duplicate field "data.a"`).
///
/// # Errors
/// The message that Go's decoder gives for the text.
pub fn json_value(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    let tree = parse::json(body).map_err(|ParseError(message)| message)?;
    let duplicates = tree.duplicates();
    Ok((tree.into_value(), duplicates))
}

/// Seconds and nanoseconds since 1970 of a time as decoded objects hold it; `None` for other texts.
pub fn unix_time(text: &str) -> Option<(i64, i32)> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some((time.as_second(), time.subsec_nanosecond()))
}

/// The bytes of base64 text.
///
/// # Errors
/// `illegal base64 data at input byte N`.
pub fn base64_bytes(text: &str) -> Result<Vec<u8>, String> {
    base64_text::bytes(text)
}

/// Whether a value has more than so many levels. Looks no deeper than that.
pub fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|item| is_deeper(item, levels - 1)),
        _ => false,
    }
}

const NO_KIND: &str = "couldn't get version/kind; json parse error: ";

fn object(
    schema: &Schema,
    ty: &Type,
    tree: Tree<'_>,
    body: &[u8],
    mut problems: Vec<String>,
) -> Result<Decoded, Status> {
    let expected = expected_kind(schema, ty);
    let (api_version, kind) = match kind_of(&tree) {
        Ok(found) => found,
        Err(message) => return Err(unrecognized(schema, ty, &format!("{NO_KIND}{message}"), body)),
    };
    let actual = actual_kind(expected.as_ref(), api_version, kind);
    // An object of another known kind is decoded as what it says it is before it is refused.
    check_kind(expected.as_ref(), actual.as_ref(), |other| {
        let Some(ty) = schema::type_of(other) else { return Ok(()) };
        typed::decode(schema::builtin(), &ty, tree.clone())
            .map(|_| ())
            .map_err(|message| unusable(other, other, &message))
    })?;
    let decoded = typed::decode(schema, ty, tree).map_err(|message| failure(actual.as_ref(), &message))?;
    problems.extend(decoded.problems);
    Ok(named(Decoded { object: decoded.object, problems }, actual.as_ref()))
}

/// What the type wants to see; `None` for types that are no kinds.
fn expected_kind(schema: &Schema, ty: &Type) -> Option<GroupVersionKind> {
    match ty {
        Type::Struct { id } => schema.get(*id).gvk.clone(),
        _ => None,
    }
}

/// What the object says it is; where it says nothing, what is expected.
fn actual_kind(expected: Option<&GroupVersionKind>, api_version: &str, kind: &str) -> Option<GroupVersionKind> {
    let expected = expected?;
    let kind = if kind.is_empty() { expected.kind.as_str() } else { kind };
    if api_version.is_empty() {
        return Some(GroupVersionKind::new(&expected.group, &expected.version, kind));
    }
    Some(
        GroupVersionKind::from_api_version(api_version, kind)
            .unwrap_or_else(|| GroupVersionKind::new("", api_version, kind)),
    )
}

/// `apiVersion` and `kind` of a parsed body, as Go's decoder finds them before it knows the type.
fn kind_of<'t>(tree: &'t Tree<'_>) -> Result<(&'t str, &'t str), String> {
    const GO_TYPE: &str =
        r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    let fields = match tree {
        Tree::Object(fields) => fields,
        Tree::Null => return Ok(("", "")),
        other => return Err(format!("json: cannot unmarshal {} into Go value of type {GO_TYPE}", other.go_kind())),
    };
    let text = |name: &str| match fields.iter().rev().find(|(key, _)| key == name) {
        Some((_, Tree::String(text))) => Ok(text.as_ref()),
        None | Some((_, Tree::Null)) => Ok(""),
        Some((_, other)) => {
            Err(format!("json: cannot unmarshal {} into Go struct field .{name} of type string", other.go_kind()))
        }
    };
    Ok((text("apiVersion")?, text("kind")?))
}

/// Refuses an object of another kind than the one expected.
fn check_kind(
    expected: Option<&GroupVersionKind>,
    actual: Option<&GroupVersionKind>,
    decode_other: impl Fn(&GroupVersionKind) -> Result<(), Status>,
) -> Result<(), Status> {
    let (Some(expected), Some(actual)) = (expected, actual) else { return Ok(()) };
    let any_group = matches!(expected.kind.as_str(), "DeleteOptions" | "Status");
    if actual == expected || (any_group && actual.kind == expected.kind) {
        return Ok(());
    }
    if actual.kind == expected.kind && is_other_version(expected, actual) {
        let (found, wanted) = (actual.api_version(), expected.api_version());
        let message =
            format!("the API version in the data ({found}) does not match the expected API version ({wanted})");
        return Err(Status::bad_request(message));
    }
    if resources::of_kind(actual).is_none() && schema::type_of(actual).is_none() {
        let version = actual.api_version();
        let why = format!("no kind {:?} is registered for version {version:?} in scheme {SCHEME:?}", actual.kind);
        return Err(unusable(actual, expected, &why));
    }
    decode_other(actual)?;
    let package = |gvk: &GroupVersionKind| schema::short_group(&gvk.group).to_string();
    let why = format!(
        "converting ({}.{}) to ({}.{}): unknown conversion",
        actual.version,
        actual.kind,
        package(expected),
        expected.kind
    );
    Err(unusable(actual, expected, &why))
}

/// Where Kubernetes' table of types is made; it is part of the message.
const SCHEME: &str = "pkg/runtime/scheme.go:111";

/// Versions that Kubernetes still knows of and can convert, but that this server does not serve.
fn is_other_version(expected: &GroupVersionKind, actual: &GroupVersionKind) -> bool {
    match (expected.group.as_str(), actual.group.as_str(), actual.version.as_str()) {
        ("apps", "apps", "v1beta1") => expected.kind != "DaemonSet" && expected.kind != "ReplicaSet",
        ("apps", "apps", "v1beta2") => true,
        ("apps" | "networking.k8s.io", "extensions", "v1beta1") => {
            matches!(expected.kind.as_str(), "DaemonSet" | "Deployment" | "ReplicaSet" | "Ingress" | "NetworkPolicy")
        }
        (own, other, _) => own == other && resources::of_kind(actual).is_some(),
    }
}

fn failure(actual: Option<&GroupVersionKind>, message: &str) -> Status {
    match actual {
        Some(gvk) => unusable(gvk, gvk, message),
        None => Status::bad_request(message),
    }
}

fn unusable(actual: &GroupVersionKind, expected: &GroupVersionKind, why: &str) -> Status {
    let GroupVersionKind { version, kind, .. } = actual;
    Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {}: {why}", expected.kind))
}

fn unrecognized(schema: &Schema, ty: &Type, why: &str, body: &[u8]) -> Status {
    let kind = expected_kind(schema, ty).map(|gvk| gvk.kind).unwrap_or_default();
    let body = summary(body);
    Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why} ({body})"))
}

/// The first bytes of a body, as text if it looks like JSON and as hexadecimal digits otherwise.
fn summary(body: &[u8]) -> String {
    const SHOWN_MAX: usize = 30;
    let shown = &body[..body.len().min(SHOWN_MAX)];
    let mut text = match body.first() {
        None => return "<empty>".to_string(),
        Some(b'{') => String::from_utf8_lossy(shown).into_owned(),
        Some(_) => shown.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
    };
    if body.len() > SHOWN_MAX {
        text.push_str(" ...");
    }
    text
}

/// Writes `apiVersion` and `kind` into an object that is a kind.
fn named(mut decoded: Decoded, gvk: Option<&GroupVersionKind>) -> Decoded {
    if let (Some(gvk), Value::Object(fields)) = (gvk, &mut decoded.object) {
        fields.insert("apiVersion".into(), gvk.api_version().into());
        fields.insert("kind".into(), gvk.kind.clone().into());
    }
    decoded
}

#[cfg(test)]
mod tests;
