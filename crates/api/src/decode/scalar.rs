//! Scalars: from a parsed value to the one that Go would write back.

use serde_json::Value;

use super::base64_text;
use super::time::{self, Precision};
use super::tree::{self, Tree};
use crate::quantity;
use crate::schema::Scalar;

/// Why a value cannot be read as the scalar.
#[derive(Debug, PartialEq)]
pub enum Fault {
    /// A value of the wrong type, in Go's words (`string`, `number 1.5`). Decoding goes on; the first one is reported.
    Mismatch(String),
    /// The type's own reader refuses. Decoding ends here, with this message.
    Refused(String),
}

/// `None`: Go's zero value. `tree` is not null.
pub fn decode(scalar: Scalar, tree: Tree<'_>) -> Result<Option<Value>, Fault> {
    let value = match (scalar, tree) {
        (Scalar::String | Scalar::Duration, Tree::String(text)) => Value::String(text.into_owned()),
        (Scalar::Bool, Tree::Bool(value)) => Value::Bool(value),
        (Scalar::Int32, Tree::Number(text)) => text.parse::<i32>().map_err(|_| number_mismatch(&text))?.into(),
        (Scalar::Int64, Tree::Number(text)) => text.parse::<i64>().map_err(|_| number_mismatch(&text))?.into(),
        (Scalar::Double, Tree::Number(text)) => {
            let number = text.parse().ok().and_then(tree::float);
            Value::Number(number.ok_or_else(|| number_mismatch(&text))?)
        }
        (Scalar::Bytes, Tree::String(text)) => base64_text::canonical(&text).map_err(Fault::Refused)?.into(),
        (Scalar::Bytes, Tree::Array(items)) => byte_list(items)?,
        (Scalar::Time, tree) => return time(tree, Precision::Seconds),
        (Scalar::MicroTime, tree) => return time(tree, Precision::Micros),
        (Scalar::Quantity, tree) => quantity(&tree)?,
        (Scalar::IntOrString, tree) => int_or_string(tree)?,
        (_, other) => return Err(Fault::Mismatch(other.go_kind().to_string())),
    };
    Ok(Some(value))
}

/// What Go writes for a scalar that was never set.
pub fn zero(scalar: Scalar) -> Value {
    match scalar {
        Scalar::String | Scalar::Duration => "".into(),
        Scalar::Bool => false.into(),
        Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::IntOrString => 0.into(),
        Scalar::Quantity => "0".into(),
        Scalar::Bytes | Scalar::Time | Scalar::MicroTime => Value::Null,
    }
}

/// Go's name of the type.
pub fn go_name(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::String => "string",
        Scalar::Bool => "bool",
        Scalar::Int32 => "int32",
        Scalar::Int64 => "int64",
        Scalar::Double => "float64",
        Scalar::Bytes => "[]uint8",
        Scalar::Time => "v1.Time",
        Scalar::MicroTime => "v1.MicroTime",
        Scalar::Duration => "v1.Duration",
        Scalar::Quantity => "resource.Quantity",
        Scalar::IntOrString => "intstr.IntOrString",
    }
}

fn number_mismatch(text: &str) -> Fault {
    Fault::Mismatch(format!("number {text}"))
}

/// Go reads a list of numbers as bytes, too.
fn byte_list(items: Vec<Tree<'_>>) -> Result<Value, Fault> {
    let byte = |item: Tree<'_>| match item {
        Tree::Number(text) => text.parse::<u8>().map_err(|_| number_mismatch(&text)),
        other => Err(Fault::Mismatch(other.go_kind().to_string())),
    };
    let bytes = items.into_iter().map(byte).collect::<Result<Vec<u8>, Fault>>()?;
    Ok(base64_text::encode(&bytes).into())
}

fn time(tree: Tree<'_>, precision: Precision) -> Result<Option<Value>, Fault> {
    match tree {
        Tree::String(text) => Ok(time::canonical(&text, precision).map_err(Fault::Refused)?.map(Value::String)),
        other => {
            Err(Fault::Refused(format!("json: cannot unmarshal {} into Go value of type string", other.go_kind())))
        }
    }
}

fn quantity(tree: &Tree<'_>) -> Result<Value, Fault> {
    let text = match tree {
        Tree::String(text) | Tree::Number(text) => text.trim(),
        // Its reader takes the raw text; nothing but a string or a number can be a quantity.
        _ => "{}",
    };
    quantity::canonical(text).map(Value::String).map_err(|error| Fault::Refused(error.to_string()))
}

fn int_or_string(tree: Tree<'_>) -> Result<Value, Fault> {
    const INTO: &str = "into Go value of type int32";
    match tree {
        Tree::String(text) => Ok(Value::String(text.into_owned())),
        Tree::Number(text) => match text.parse::<i32>() {
            Ok(number) => Ok(number.into()),
            Err(_) => Err(Fault::Refused(format!("json: cannot unmarshal number {text} {INTO}"))),
        },
        other => Err(Fault::Refused(format!("json: cannot unmarshal {} {INTO}", other.go_kind()))),
    }
}
