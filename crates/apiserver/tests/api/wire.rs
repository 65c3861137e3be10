//! What clients of protobuf read, as the JSON that others get: bodies, lists, and the frames of a watch.
//!
//! The wrappings are read here by hand, so that a mistake in how the server writes them is not made twice.

use backstay_api::schema::{self, Type};
use backstay_api::{GroupVersionKind, decode, protobuf};
use serde_json::{Value, json};

pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The text of an answer; JSON stays as it is.
pub fn to_json(content_type: &str, body: &[u8]) -> String {
    if content_type.starts_with(PROTOBUF) && content_type.ends_with(";stream=watch") {
        return frames(body);
    }
    match content_type.starts_with(PROTOBUF) {
        true => object(body).to_string(),
        false => String::from_utf8_lossy(body).into_owned(),
    }
}

/// The fields of a message that are bytes, in order.
pub fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        match key & 7 {
            0 => drop(varint(&mut message)),
            2 => {
                let length = usize::try_from(varint(&mut message)).expect("a length");
                let (field, rest) = message.split_at(length);
                fields.push((key >> 3, field));
                message = rest;
            }
            other => panic!("wire type {other} where none was expected"),
        }
    }
    fields
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = message.split_first().expect("a whole number");
        *message = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

fn text(message: &[u8], number: u64) -> String {
    let fields = fields(message);
    let field = fields.iter().find(|(tag, _)| *tag == number).map(|(_, field)| *field).unwrap_or_default();
    String::from_utf8(field.to_vec()).expect("text")
}

/// `{"type":...,"object":...}` for each frame, a line each.
fn frames(mut body: &[u8]) -> String {
    let mut lines = String::new();
    while !body.is_empty() {
        let (length, rest) = body.split_at(4);
        let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
        let (event, rest) = rest.split_at(length);
        body = rest;
        let (_, extension) = fields(event).into_iter().find(|(tag, _)| *tag == 2).expect("an object");
        let (_, raw) = fields(extension).into_iter().find(|(tag, _)| *tag == 1).expect("raw bytes");
        lines.push_str(&format!("{}\n", json!({"type": text(event, 1), "object": object(raw)})));
    }
    lines
}

fn object(body: &[u8]) -> Value {
    let unknown = body.strip_prefix(b"k8s\0").expect("the magic number");
    let parts = fields(unknown);
    let part = |number: u64| parts.iter().find(|(tag, _)| *tag == number).map(|(_, part)| *part).unwrap_or_default();
    let (api_version, kind) = (text(part(1), 1), text(part(1), 2));
    let raw = part(2);
    let mut object = match kind.as_str() {
        "PartialObjectMetadata" => json!({"metadata": metadata(raw)}),
        "APIGroupList" | "APIResourceList" => read(&format!("meta.v1.{kind}"), raw),
        "APIGroupDiscoveryList" => read("apidiscovery.v2.APIGroupDiscoveryList", raw),
        list if list.ends_with("List") => self::list(&api_version, list, raw),
        _ => read(&type_name(&api_version, &kind), raw),
    };
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    object
}

fn list(api_version: &str, kind: &str, raw: &[u8]) -> Value {
    let mut list = json!({"items": []});
    for (number, field) in fields(raw) {
        match number {
            1 => list["metadata"] = read("meta.v1.ListMeta", field),
            _ if kind == "PartialObjectMetadataList" => {
                let item = json!({"metadata": metadata(field)});
                list["items"].as_array_mut().expect("a list").push(item);
            }
            _ => {
                let mut item = read(&type_name(api_version, kind.trim_end_matches("List")), field);
                let fields = item.as_object_mut().expect("an object");
                fields.remove("kind");
                fields.remove("apiVersion");
                list["items"].as_array_mut().expect("a list").push(item);
            }
        }
    }
    list
}

fn metadata(message: &[u8]) -> Value {
    let (_, metadata) = fields(message).into_iter().find(|(tag, _)| *tag == 1).expect("metadata");
    read("meta.v1.ObjectMeta", metadata)
}

fn type_name(api_version: &str, kind: &str) -> String {
    if api_version.is_empty() || matches!(kind, "Status" | "APIGroup" | "APIVersions") {
        return format!("meta.v1.{kind}");
    }
    let gvk = GroupVersionKind::from_api_version(api_version, kind).expect("an API version");
    format!("{}.{}.{kind}", schema::short_group(&gvk.group), gvk.version)
}

fn read(name: &str, message: &[u8]) -> Value {
    let schema = schema::builtin();
    let ty = Type::Struct { id: schema.find(name).unwrap_or_else(|| panic!("no type {name}")) };
    let body = protobuf::body("", "", message);
    decode::protobuf(schema, &ty, &body).unwrap_or_else(|status| panic!("{name}: {status}")).object
}
