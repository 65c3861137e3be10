//! Reads the protobuf messages of `k8s-pb`'s generated sources, as text: tags, and the markers in the comments.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::{TypeName, rust_files, short_name};

#[derive(Clone, Debug, Default)]
pub struct Message {
    pub markers: Markers,
    pub fields: Vec<MessageField>,
}

#[derive(Clone, Debug, Default)]
pub struct MessageField {
    /// The name in lower case without underscores; equals the JSON name in lower case.
    pub folded: String,
    pub tag: u32,
    pub markers: Markers,
    /// The type, if it is a message.
    pub message: Option<TypeName>,
}

/// `+listType=map`, `+listMapKey=name`, `+patchStrategy=merge`...
#[derive(Clone, Debug, Default)]
pub struct Markers(Vec<(String, String)>);

impl Markers {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn note(&mut self, comment: &str) {
        if let Some((key, value)) = comment.trim().strip_prefix('+').and_then(|marker| marker.split_once('=')) {
            self.0.push((key.to_string(), value.trim_matches('"').to_string()));
        }
    }
}

/// All messages. prost writes names in its own case (`FcVolumeSource`), so they are found by their lower-case form.
#[derive(Debug, Default)]
pub struct Messages(BTreeMap<String, Message>);

impl Messages {
    /// The message of a type; types that have just become stable are found in their beta version.
    pub fn get(&self, name: &str) -> Option<&Message> {
        let name = name.to_lowercase();
        let beta = || self.0.get(&name.replace(".v1.", ".v1beta1."));
        self.0.get(&name).or_else(beta)
    }
}

pub fn read(directory: &Path) -> Result<Messages> {
    let mut messages = BTreeMap::new();
    for path in rust_files(directory)? {
        let module = path
            .parent()
            .and_then(|parent| parent.strip_prefix(directory).ok())
            .map(|module| module.iter().filter_map(|segment| segment.to_str()).collect::<Vec<_>>().join("::"));
        read_file(&std::fs::read_to_string(&path)?, &module.unwrap_or_default(), &mut messages);
    }
    Ok(Messages(messages))
}

fn read_file(text: &str, module: &str, messages: &mut BTreeMap<String, Message>) {
    let mut markers = Markers::default();
    let mut tag = None;
    let mut current: Option<(TypeName, Message)> = None;
    let joined = text.replace(":\n            ", ": ").replace(":\n        ", ": ");
    for line in joined.lines() {
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix("///") {
            markers.note(comment);
        } else if let Some(name) = line.strip_prefix("pub struct ") {
            let name = name.trim_end_matches(['{', '}', ' ']);
            let message = Message { markers: std::mem::take(&mut markers), fields: Vec::new() };
            current = Some((short_name(&format!("{module}::{name}")), message));
        } else if let Some(attribute) = trimmed.strip_prefix("#[prost(") {
            let number = attribute.split("tag = \"").nth(1).and_then(|rest| rest.split('"').next());
            tag = number.and_then(|number| number.parse().ok());
        } else if let (Some(tag_found), Some((_, message))) = (tag, &mut current)
            && let Some((name, ty)) = trimmed.strip_prefix("pub ").and_then(|field| field.split_once(": "))
        {
            let folded = name.trim_start_matches("r#").replace('_', "").to_lowercase();
            let markers = std::mem::take(&mut markers);
            message.fields.push(MessageField { folded, tag: tag_found, markers, message: message_type(ty, module) });
            tag = None;
        } else if line.starts_with('}') {
            messages.extend(current.take().map(|(name, message)| (name.to_lowercase(), message)));
            markers = Markers::default();
        }
    }
}

/// The message of an optional message field.
fn message_type(ty: &str, module: &str) -> Option<TypeName> {
    let inner = ty.trim_end_matches(',').strip_prefix("::core::option::Option<")?.strip_suffix('>')?;
    let inner = inner.strip_prefix("::prost::alloc::boxed::Box<").and_then(|ty| ty.strip_suffix('>')).unwrap_or(inner);
    match inner {
        "i32" | "i64" | "bool" | "f64" => None,
        _ if inner.starts_with("::prost") => None,
        _ if inner.contains("::") => Some(short_name(inner)),
        local => Some(short_name(&format!("{module}::{local}"))),
    }
}
