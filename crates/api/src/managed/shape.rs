//! How ownership sees a value of some type: as one leaf, as a map of fields, or as a list of keyed elements.

use serde_json::{Map, Value};

use super::path::PathElement;
use super::set::{Entry, FieldSet};
use crate::schema::{Field, ListKind, Scalar, Schema, Type};

/// A type, or the lack of one.
#[derive(Clone, Copy, Debug)]
pub enum Node<'a> {
    Typed(&'a Schema, &'a Type),
    /// Unstructured parts of custom resources: every field has an owner, lists are owned as a whole.
    Untyped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Owned as a whole: scalars, atomic lists and maps.
    Leaf,
    /// Each element is owned by its key or value.
    List,
    /// Each field or entry is owned by its name.
    Map,
}

impl<'a> Node<'a> {
    pub fn root(schema: &'a Schema, ty: &'a Type) -> Self {
        Node::Typed(schema, ty)
    }

    /// The shape of a value; `sample` decides where the type allows several.
    pub fn shape(self, sample: &Value) -> Shape {
        match self {
            Node::Untyped if sample.is_object() => Shape::Map,
            Node::Untyped => Shape::Leaf,
            Node::Typed(schema, ty) => match ty {
                Type::Struct { id } => {
                    let known = schema.get(*id);
                    let untyped = known.preserve_unknown && known.fields.is_empty();
                    let leaf = known.atomic || untyped && !sample.is_object() && !sample.is_null();
                    if leaf { Shape::Leaf } else { Shape::Map }
                }
                Type::Map { atomic: true, .. } | Type::Scalar(_) | Type::Any => Shape::Leaf,
                Type::Map { atomic: false, .. } => Shape::Map,
                Type::List { kind: ListKind::Atomic, .. } => Shape::Leaf,
                Type::List { .. } => Shape::List,
            },
        }
    }

    /// The type of a field or entry; untyped if it is not declared.
    pub fn field(self, name: &str) -> Node<'a> {
        self.declared(name).unwrap_or(Node::Untyped)
    }

    /// The type of a field or entry; `None` if the type knows no such field.
    pub fn declared(self, name: &str) -> Option<Node<'a>> {
        match self {
            Node::Untyped => Some(Node::Untyped),
            Node::Typed(schema, ty) => match ty {
                Type::Map { value, .. } => Some(Node::Typed(schema, value)),
                Type::Struct { id } => match schema.get(*id).fields.get(name) {
                    Some(field) => Some(Node::Typed(schema, &field.ty)),
                    None => schema.get(*id).preserve_unknown.then_some(Node::Untyped),
                },
                _ => None,
            },
        }
    }

    /// A field that the type names, as opposed to an entry of a map.
    pub fn is_named(self, name: &str) -> bool {
        matches!(self, Node::Typed(schema, ty) if schema.field(ty, name).is_some())
    }

    pub fn element(self) -> Node<'a> {
        match self {
            Node::Typed(schema, Type::List { element, .. }) => Node::Typed(schema, element),
            _ => Node::Untyped,
        }
    }

    /// The path of an element of a list whose shape is [`Shape::List`].
    ///
    /// # Errors
    /// Why the element has none, in Kubernetes' words.
    pub fn item_path(self, item: &Value) -> Result<PathElement, String> {
        match self {
            Node::Typed(schema, Type::List { element, kind: ListKind::Map { keys } }) => {
                key_of(schema, element, keys, item)
            }
            _ => match item {
                Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
                Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
                Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
                _ => Ok(PathElement::value(item)),
            },
        }
    }

    /// The set with every named field as a member that has something of the set below it.
    pub fn with_named_fields(self, set: &FieldSet) -> FieldSet {
        set.combine(|element, entry| {
            let named = matches!(element, PathElement::Field(name) if self.is_named(name));
            let member = entry.member || named && !entry.below.is_empty();
            Some(Entry { member, below: self.child(element).with_named_fields(&entry.below) })
        })
    }

    /// Whether the set owns nothing inside of what is a leaf by now.
    pub fn is_reconciled(self, set: &FieldSet) -> bool {
        set.entries().all(|(element, entry)| {
            let child = self.child(element);
            entry.below.is_empty() || !child.is_typed_leaf() && child.is_reconciled(&entry.below)
        })
    }

    /// The set as it would be had the type been what it is now: of a leaf nothing is owned but the whole.
    pub fn reconciled(self, set: &FieldSet) -> FieldSet {
        set.combine(|element, entry| {
            let child = self.child(element);
            Some(match !entry.below.is_empty() && child.is_typed_leaf() {
                true => Entry { member: true, below: FieldSet::default() },
                false => Entry { member: entry.member, below: child.reconciled(&entry.below) },
            })
        })
    }

    fn child(self, element: &PathElement) -> Node<'a> {
        match element {
            PathElement::Field(name) => self.field(name),
            PathElement::Key(_) => self.element(),
            _ => Node::Untyped,
        }
    }

    fn is_typed_leaf(self) -> bool {
        matches!(self, Node::Typed(..)) && self.shape(&Value::Null) == Shape::Leaf
    }
}

fn key_of(schema: &Schema, element: &Type, keys: &[String], item: &Value) -> Result<PathElement, String> {
    let fields = match item {
        Value::Object(fields) => fields,
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let mut key = Map::new();
    for name in keys {
        let value = fields.get(name).cloned().or_else(|| key_default(schema, element, name)).ok_or_else(|| {
            format!(
                "associative list with keys has an element that omits key field {name:?} (and doesn't have default value)"
            )
        })?;
        key.insert(name.clone(), value);
    }
    Ok(PathElement::key(key))
}

/// The default of a key field: the declared one, or the zero value where Go cannot leave the field out.
fn key_default(schema: &Schema, element: &Type, name: &str) -> Option<Value> {
    let Type::Struct { id } = element else { return None };
    let known = schema.get(*id);
    let zero = |field: &Field| match &field.ty {
        Type::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double) => Some(Value::from(0)),
        Type::Scalar(Scalar::Bool) => Some(Value::from(false)),
        Type::Scalar(_) => Some(Value::from("")),
        _ => None,
    };
    let written = || known.fields.get(name).filter(|field| field.written).and_then(zero);
    known.defaults.get(name).cloned().or_else(written)
}
