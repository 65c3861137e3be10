//! What happens to bytes from outside: each target reads some, and says what must be true of whatever came of it. No
//! input makes a target panic, hang, or run out of stack.
//!
//! Used by the fuzz targets beside this file, and by the test `parsers` of the binary's crate.

mod frames;
mod images;
mod server;

pub use frames::frames;
pub use images::{image, layer};

use backstay_api::decode::{self, DEPTH_MAX};
use backstay_api::json_path::Template;
use backstay_api::managed::{self, Manager};
use backstay_api::schema::{self, Type};
use backstay_api::selector::{FieldSelector, LabelSelector};
use backstay_api::validation::{self, Policy};
use backstay_api::{GroupVersionKind, Status, crd, duration, patch, protobuf as wire, quantity, resources};
use serde_json::Value;

/// A target: what it is called, what it does, and inputs to begin with.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    seeds: &'static str,
}

macro_rules! targets {
    ($($name:ident),*) => {
        [$(Target { name: stringify!($name), run: $name, seeds: include_str!(concat!("../seeds/", stringify!($name), ".txt")) }),*]
    };
}

pub const TARGETS: [Target; 14] = targets!(
    json, yaml, protobuf, patch, apply, selector, text, definition, jsonpath, kubeconfig, request, frames, image, layer
);

impl Target {
    /// The lines of its file.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        let is_plain = self.seeds.lines().next().is_some_and(|first| first.contains("as it is"));
        let lines = self.seeds.lines().skip(1).filter(|line| !line.is_empty());
        lines.map(|line| if is_plain { line.as_bytes().to_vec() } else { unescaped(line) }).collect()
    }
}

fn unescaped(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, used) = match (first, tail) {
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [b'x', high, low, ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok().and_then(|text| u8::from_str_radix(text, 16).ok());
                (digits.unwrap_or(b'x'), if digits.is_some() { 4 } else { 2 })
            }
            (b'\\', [other, ..]) => (*other, 2),
            _ => (*first, 1),
        };
        bytes.push(byte);
        rest = &rest[used..];
    }
    bytes
}

const KINDS: [(&str, &str, &str); 8] = [
    ("", "v1", "Pod"),
    ("apps", "v1", "DaemonSet"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "Service"),
    ("apps", "v1", "ControllerRevision"),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
    ("authorization.k8s.io", "v1", "SubjectAccessReview"),
    ("", "v1", "Event"),
];

fn types() -> impl Iterator<Item = Type> {
    KINDS.iter().filter_map(|(group, version, kind)| schema::type_of(&GroupVersionKind::new(group, version, kind)))
}

/// What has been decoded is not too deep, can be decoded again, and stays as it is.
fn settled(ty: &Type, object: &Value) {
    assert!(!decode::is_deeper(object, DEPTH_MAX + 1), "deeper than anybody can read");
    let again = decode::json(schema::builtin(), ty, object.to_string().as_bytes()).expect("our own output");
    assert_eq!(&again.object, object);
}

pub fn json(data: &[u8]) {
    for ty in types() {
        if let Ok(decoded) = decode::json(schema::builtin(), &ty, data) {
            assert!(decoded.problems.len() <= 100);
            settled(&ty, &decoded.object);
        }
    }
    if let Ok((value, _)) = decode::json_value(data) {
        assert!(!decode::is_deeper(&value, DEPTH_MAX));
    }
}

pub fn yaml(data: &[u8]) {
    for ty in types().take(3) {
        if let Ok(decoded) = decode::yaml(schema::builtin(), &ty, data) {
            settled(&ty, &decoded.object);
        }
    }
    if let Ok((value, _)) = decode::yaml_value(data) {
        assert!(!decode::is_deeper(&value, DEPTH_MAX));
    }
}

pub fn protobuf(data: &[u8]) {
    let wrapped = [b"k8s\0".as_slice(), data].concat();
    for ty in types() {
        for body in [data, &wrapped] {
            let Ok(decoded) = decode::protobuf(schema::builtin(), &ty, body) else { continue };
            settled(&ty, &decoded.object);
            if let Some(written) = wire::document(&decoded.object) {
                let again = decode::protobuf(schema::builtin(), &ty, &written).expect("our own output");
                assert_eq!(again.object, decoded.object);
            }
        }
    }
}

/// The two parts of an input that is an object and a change of it.
fn parts(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'|') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, data),
    }
}

fn object(text: &[u8]) -> Value {
    match decode::json_value(text) {
        Ok((value @ Value::Object(_), _)) => value,
        _ => Value::Object(Default::default()),
    }
}

pub fn patch(data: &[u8]) {
    let (present, change) = parts(data);
    let present = object(present);
    let _ = patch::json_patch_problems(change);
    let strategic = |ty: &Type| -> Result<Value, Status> {
        patch::strategic_merge(schema::builtin(), ty, &present, &patch::strategic_patch_body(change)?)
    };
    let pod = types().next().expect("the first kind");
    for patched in [patch::json_patch(&present, change), patch::merge_patch(&present, change), strategic(&pod)] {
        let Ok(patched) = patched else { continue };
        // Whatever comes out of a patch is decoded next.
        if let Ok(decoded) = decode::value(schema::builtin(), &pod, patched) {
            settled(&pod, &decoded.object);
        }
    }
}

pub fn apply(data: &[u8]) {
    let (present, applied) = parts(data);
    let gvk = GroupVersionKind::new("", "v1", "Pod");
    let (Some(ty), Some(resource)) = (schema::type_of(&gvk), resources::of_kind(&gvk)) else { return };
    let manager = Manager { name: "m", resource, subresource: "", now: jiff::Timestamp::UNIX_EPOCH };
    let present = decode::json(schema::builtin(), &ty, present).ok().map(|decoded| decoded.object);
    let Ok((applied, _)) = decode::yaml_value(applied) else { return };
    for force in [false, true] {
        let _ = managed::apply(schema::builtin(), &ty, present.as_ref(), &applied, &manager, force);
    }
    if let Ok(mut decoded) = decode::value(schema::builtin(), &ty, applied) {
        managed::track_update(schema::builtin(), &ty, present.as_ref(), &mut decoded.object, &manager);
    }
}

pub fn selector(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(selector) = LabelSelector::parse(&text) {
        let again = LabelSelector::parse(&selector.to_string());
        assert_eq!(again.as_ref(), Ok(&selector), "{selector}");
        let _ = selector.matches(&std::collections::BTreeMap::<String, String>::new());
    }
    let _ = FieldSelector::parse(&text);
    let _ = LabelSelector::from_object(&object(data));
}

pub fn text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(canonical) = quantity::canonical(&text) {
        assert_eq!(quantity::canonical(&canonical), Ok(canonical.clone()), "{canonical} of {text}");
    }
    let _ = duration::parse(&text);
    let _ = decode::unix_time(&text);
    let _ = decode::base64_bytes(&text);
}

pub fn definition(data: &[u8]) {
    let (definition, sample) = parts(data);
    let gvk = GroupVersionKind::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let (Some(ty), Some(resource)) = (schema::type_of(&gvk), resources::of_kind(&gvk)) else { return };
    let Ok(decoded) = decode::json(schema::builtin(), &ty, definition) else { return };
    let mut definition = decoded.object;
    backstay_api::defaults::apply(&gvk, &mut definition);
    let is_legal = validation::create(resource, &definition, Policy::default()).is_empty();
    let now = jiff::Timestamp::UNIX_EPOCH;
    definition["status"] = crd::status(&definition, [], now);
    for custom in crd::compile(&definition) {
        let Ok(decoded) = decode::json(&custom.schema, &custom.ty, sample) else { continue };
        let mut sample = decoded.object;
        custom.apply_defaults(&mut sample);
        let _ = (custom.validate(&sample, None), custom.validate(&sample, Some(&sample)));
        let _ =
            (custom.columns(), custom.cells(&sample, now), custom.selectable_fields(&sample), custom.scale(&sample));
        assert!(!is_legal || custom.open_api().is_object() || custom.open_api().is_null());
    }
}

pub fn jsonpath(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let sample = serde_json::json!({
        "items": [{"metadata": {"name": "a", "labels": {"x": "1"}}, "spec": {"x": 2}}, {"metadata": {"name": "b"}}],
        "a": [1, 2.5, null, "t", [true]], "b": {"c": {}},
    });
    for template in [Template::parse(&text), Template::relaxed(&text)].into_iter().flatten() {
        let _ = template.fill(&sample);
        let _ = template.find(&sample);
    }
}

pub fn kubeconfig(data: &[u8]) {
    let _ = backstay_cli::check_kubeconfig(&String::from_utf8_lossy(data));
}

/// A whole request, headers and body: whatever a server reads of it, paths, parameters, `Accept`, continue tokens...
pub fn request(data: &[u8]) {
    server::ask(data);
}
