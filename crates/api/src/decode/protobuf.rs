//! Reads Kubernetes' protobuf form with the tags of the schema.
//!
//! Field numbers come from the facts, so there is one decoder for all types. Special messages: times, quantities,
//! int-or-string, raw JSON, and messages that exist on the wire only (their fields stand in the struct around them).
//! Fields with unknown numbers are skipped, as in Go.

mod wire;

use std::borrow::Cow;

use self::wire::{Chunk, Wire};
use super::base64_text;
use super::parse::{self, DEPTH_MAX, ParseError};
use super::time::{self, Precision};
use super::tree::{Tree, float};
use crate::protobuf::{is_wrapped_list, map_value};
use crate::schema::{Field, Part, Scalar, Schema, StructId, Type};

/// Begins every protobuf body.
const MAGIC: &[u8] = b"k8s\0";

const NOT_PROTOBUF: &str = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";

/// A body without its wrapping (`runtime.Unknown`).
pub struct Envelope<'a> {
    pub api_version: String,
    pub kind: String,
    pub raw: &'a [u8],
}

pub fn envelope(body: &[u8]) -> Result<Envelope<'_>, String> {
    if body.is_empty() {
        return Err("empty data".to_string());
    }
    let unknown = body.strip_prefix(MAGIC).ok_or(NOT_PROTOBUF)?;
    if unknown.is_empty() {
        return Err("empty body".to_string());
    }
    let mut envelope = Envelope { api_version: String::new(), kind: String::new(), raw: &[] };
    for chunk in Wire(unknown) {
        let chunk = chunk?;
        match chunk.number {
            1 => {
                for meta in Wire(chunk.bytes()?) {
                    let meta = meta?;
                    match meta.number {
                        1 => envelope.api_version = meta.text()?,
                        2 => envelope.kind = meta.text()?,
                        _ => {}
                    }
                }
            }
            2 => envelope.raw = chunk.bytes()?,
            _ => {}
        }
    }
    Ok(envelope)
}

/// The message as the tree that its JSON form would give.
pub fn object(schema: &Schema, ty: &Type, raw: &[u8]) -> Result<Tree<'static>, String> {
    match ty {
        Type::Struct { id } => Reader { schema, depth: 0 }.message(*id, raw).map(Tree::Object),
        _ => Err("object does not implement the protobuf marshalling interface and cannot be decoded".to_string()),
    }
}

/// How long the first field of a message is, with its key, if it is of bytes and has this tag.
pub fn leading_field(message: &[u8], tag: u32) -> Option<usize> {
    let mut wire = Wire(message);
    let first = wire.next()?.ok()?;
    (first.number == tag && first.bytes().is_ok()).then(|| message.len() - wire.0.len())
}

type Fields = Vec<(Cow<'static, str>, Tree<'static>)>;

struct Reader<'s> {
    schema: &'s Schema,
    depth: usize,
}

impl<'s> Reader<'s> {
    fn message(&mut self, id: StructId, raw: &[u8]) -> Result<Fields, String> {
        let mut fields = Fields::new();
        self.fill(&mut fields, id, raw)?;
        Ok(fields)
    }

    /// Adds the fields of a message to those that are there: an inlined one may come in many parts.
    fn fill(&mut self, fields: &mut Fields, id: StructId, raw: &[u8]) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("proto: nesting is too deep".to_string());
        }
        let structure = self.schema.get(id);
        for chunk in Wire(raw) {
            let chunk = chunk?;
            let Ok(at) = structure.parts.binary_search_by_key(&chunk.number, |(tag, _)| *tag) else { continue };
            match &structure.parts[at].1 {
                Part::Message(inner) => self.fill(fields, *inner, chunk.bytes()?)?,
                Part::Field(name) => self.field(fields, name, &structure.fields[name], &chunk)?,
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn field(&mut self, fields: &mut Fields, name: &str, field: &'s Field, chunk: &Chunk<'_>) -> Result<(), String> {
        match &field.ty {
            ty if is_wrapped_list(field) => *slot(fields, name, || Tree::Null) = self.value(ty, None, chunk)?,
            Type::List { element, .. } => {
                let items = self.items(element, field.go_type, chunk)?;
                match slot(fields, name, || Tree::Array(Vec::new())) {
                    Tree::Array(list) => list.extend(items),
                    other => *other = Tree::Array(items),
                }
            }
            Type::Map { value, .. } => {
                let entry = self.entry(value, field.go_type.and_then(map_value), chunk)?;
                match slot(fields, name, || Tree::Object(Vec::new())) {
                    Tree::Object(map) => map.push(entry),
                    other => *other = Tree::Object(vec![entry]),
                }
            }
            // A message that comes in parts is put together.
            Type::Struct { id } => match slot(fields, name, || Tree::Object(Vec::new())) {
                Tree::Object(begun) => self.fill(begun, *id, chunk.bytes()?)?,
                other => *other = Tree::Object(self.message(*id, chunk.bytes()?)?),
            },
            ty => *slot(fields, name, || Tree::Null) = self.value(ty, field.go_type, chunk)?,
        }
        Ok(())
    }

    /// One element, or many numbers packed into one chunk.
    fn items(&mut self, element: &'s Type, go: Option<&str>, chunk: &Chunk<'_>) -> Result<Vec<Tree<'static>>, String> {
        let is_number = matches!(element, Type::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Bool));
        if is_number && let Ok(packed) = chunk.bytes() {
            return wire::varints(packed)?
                .into_iter()
                .map(|number| self.value(element, None, &Chunk::varint(number)))
                .collect();
        }
        Ok(vec![self.value(element, go.and_then(|go| go.strip_prefix("[]")), chunk)?])
    }

    fn entry(
        &mut self,
        value: &'s Type,
        go: Option<&str>,
        chunk: &Chunk<'_>,
    ) -> Result<(Cow<'static, str>, Tree<'static>), String> {
        let mut key = String::new();
        let mut tree = match value {
            Type::Scalar(Scalar::String | Scalar::Bytes) => Tree::String("".into()),
            _ => Tree::Null,
        };
        for part in Wire(chunk.bytes()?) {
            let part = part?;
            match part.number {
                1 => key = part.text()?,
                2 => tree = self.value(value, go, &part)?,
                _ => {}
            }
        }
        Ok((key.into(), tree))
    }

    fn value(&mut self, ty: &'s Type, go: Option<&str>, chunk: &Chunk<'_>) -> Result<Tree<'static>, String> {
        match ty {
            Type::Struct { id } => self.message(*id, chunk.bytes()?).map(Tree::Object),
            Type::Scalar(scalar) => scalar_value(*scalar, chunk),
            Type::Any => self.any(go, chunk.bytes()?),
            // A list inside a map or a list is a message with the elements in field 1.
            Type::List { element, .. } => {
                let mut items = Vec::new();
                for part in Wire(chunk.bytes()?) {
                    items.push(self.value(element, None, &part?)?);
                }
                Ok(if items.is_empty() { Tree::Null } else { Tree::Array(items) })
            }
            Type::Map { value, .. } => Ok(Tree::Object(vec![self.entry(value, None, chunk)?])),
        }
    }

    /// Raw JSON in field 1, or one of the unions of the schema of custom resources.
    fn any(&mut self, go: Option<&str>, raw: &[u8]) -> Result<Tree<'static>, String> {
        let props = self.schema.find("apiextensions.v1.JSONSchemaProps");
        match (go, props) {
            (Some("v1.JSONSchemaPropsOrBool"), Some(props)) => self.props_or_bool(props, raw),
            (Some("v1.JSONSchemaPropsOrArray"), Some(props)) => self.props_or_array(props, raw),
            (Some("v1.JSONSchemaPropsOrStringArray"), Some(props)) => self.props_or_names(props, raw),
            _ => raw_json(raw),
        }
    }

    fn props_or_bool(&mut self, props: StructId, raw: &[u8]) -> Result<Tree<'static>, String> {
        let mut tree = Tree::Bool(false);
        for chunk in Wire(raw) {
            let chunk = chunk?;
            match (chunk.number, &tree) {
                (1, Tree::Bool(_)) => tree = Tree::Bool(chunk.number_value()? != 0),
                (2, _) => tree = Tree::Object(self.message(props, chunk.bytes()?)?),
                _ => {}
            }
        }
        Ok(tree)
    }

    fn props_or_names(&mut self, props: StructId, raw: &[u8]) -> Result<Tree<'static>, String> {
        let mut names = Vec::new();
        for chunk in Wire(raw) {
            let chunk = chunk?;
            match chunk.number {
                1 => return Ok(Tree::Object(self.message(props, chunk.bytes()?)?)),
                2 => names.push(Tree::String(chunk.text()?.into())),
                _ => {}
            }
        }
        Ok(some(names))
    }

    fn props_or_array(&mut self, props: StructId, raw: &[u8]) -> Result<Tree<'static>, String> {
        let mut list = Vec::new();
        for chunk in Wire(raw) {
            let chunk = chunk?;
            let tree = Tree::Object(self.message(props, chunk.bytes()?)?);
            match chunk.number {
                1 => return Ok(tree),
                2 => list.push(tree),
                _ => {}
            }
        }
        Ok(some(list))
    }
}

/// A union that holds nothing is null in JSON, as is an empty list in it.
fn some(list: Vec<Tree<'static>>) -> Tree<'static> {
    if list.is_empty() { Tree::Null } else { Tree::Array(list) }
}

/// The value of a field, made if this is the first time it is met.
fn slot<'f>(fields: &'f mut Fields, name: &str, empty: impl Fn() -> Tree<'static>) -> &'f mut Tree<'static> {
    let index = fields.iter().position(|(key, _)| key == name).unwrap_or_else(|| {
        fields.push((name.to_string().into(), empty()));
        fields.len() - 1
    });
    &mut fields[index].1
}

fn scalar_value(scalar: Scalar, chunk: &Chunk<'_>) -> Result<Tree<'static>, String> {
    Ok(match scalar {
        Scalar::String | Scalar::Duration => Tree::String(chunk.text()?.into()),
        Scalar::Bool => Tree::Bool(chunk.number_value()? != 0),
        // An int32 is written as 64 bits with its sign; Go drops the upper half.
        #[allow(clippy::cast_possible_truncation)]
        Scalar::Int32 => number(i64::from(chunk.number_value()? as i32)),
        Scalar::Int64 => number(chunk.number_value()?),
        Scalar::Double => match float(f64::from_bits(chunk.fixed64()?)) {
            Some(value) => Tree::Number(value.to_string().into()),
            None => Tree::Null,
        },
        Scalar::Bytes => Tree::String(base64_text::encode(chunk.bytes()?).into()),
        Scalar::Time => time_value(chunk.bytes()?, Precision::Seconds)?,
        Scalar::MicroTime => time_value(chunk.bytes()?, Precision::Micros)?,
        Scalar::Quantity => {
            let mut text = "0".to_string();
            for part in Wire(chunk.bytes()?) {
                text = part?.text()?;
            }
            Tree::String(text.into())
        }
        Scalar::IntOrString => int_or_string(chunk.bytes()?)?,
    })
}

fn number(value: i64) -> Tree<'static> {
    Tree::Number(value.to_string().into())
}

/// An empty message is Go's zero time.
fn time_value(raw: &[u8], precision: Precision) -> Result<Tree<'static>, String> {
    if raw.is_empty() {
        return Ok(Tree::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for part in Wire(raw) {
        let part = part?;
        match part.number {
            1 => seconds = part.number_value()?,
            2 => nanos = part.number_value()?,
            _ => {}
        }
    }
    let nanos = i32::try_from(nanos).map_err(|_| "proto: time out of range".to_string())?;
    Ok(time::from_unix(seconds, nanos, precision).map_or(Tree::Null, |text| Tree::String(text.into())))
}

fn int_or_string(raw: &[u8]) -> Result<Tree<'static>, String> {
    let (mut is_text, mut value, mut text) = (false, 0, String::new());
    for part in Wire(raw) {
        let part = part?;
        match part.number {
            1 => is_text = part.number_value()? == 1,
            2 => value = part.number_value()?,
            3 => text = part.text()?,
            _ => {}
        }
    }
    Ok(if is_text { Tree::String(text.into()) } else { number(value) })
}

fn raw_json(raw: &[u8]) -> Result<Tree<'static>, String> {
    for part in Wire(raw) {
        let part = part?;
        if part.number == 1 {
            let tree = parse::json(part.bytes()?).map_err(|ParseError(message)| message)?;
            return Ok(Tree::from(tree.into_value()));
        }
    }
    Ok(Tree::Null)
}

#[cfg(test)]
mod tests;
