//! The type of a custom resource, for decoding, pruning and server-side apply.

use super::props::{Additional, Kind, ListType, Props};
use crate::GroupVersionKind;
use crate::schema::{self, Field, ListKind, PatchStrategy, Scalar, Schema, StructId, Type};

/// Declares the type of one version, and everything it refers to.
pub fn declare(gvk: &GroupVersionKind, root: &Props) -> (Schema, Type) {
    let mut schema = Schema::default();
    let name = format!("{}.{}.{}", gvk.group, gvk.version, gvk.kind);
    let id = object(&mut schema, &name, root, true);
    schema.struct_mut(id).gvk = Some(gvk.clone());
    (schema, Type::Struct { id })
}

fn type_of(schema: &mut Schema, name: &str, props: &Props) -> Type {
    match props.kind {
        _ if props.int_or_string => Type::Scalar(Scalar::IntOrString),
        Some(Kind::Object) => match &props.additional {
            Some(Additional::Of(value)) if props.properties.is_empty() => {
                let value = Box::new(type_of(schema, &format!("{name}.*"), value));
                Type::Map { value, atomic: props.map_atomic }
            }
            _ => Type::Struct { id: object(schema, name, props, props.embedded) },
        },
        Some(Kind::Array) => list(schema, name, props),
        Some(Kind::String) => Type::Scalar(Scalar::String),
        Some(Kind::Integer) => Type::Scalar(Scalar::Int64),
        Some(Kind::Number) => Type::Scalar(Scalar::Double),
        Some(Kind::Boolean) => Type::Scalar(Scalar::Bool),
        // Anything at all: a structural schema without a type preserves what it does not know.
        None => Type::Struct { id: object(schema, name, &Props { preserve_unknown: true, ..props.clone() }, false) },
    }
}

fn list(schema: &mut Schema, name: &str, props: &Props) -> Type {
    let element = match &props.items {
        Some(items) => type_of(schema, &format!("{name}[]"), items),
        None => Type::Any,
    };
    let kind = match props.list_type {
        ListType::Atomic => ListKind::Atomic,
        ListType::Set => ListKind::Set,
        ListType::Map => ListKind::Map { keys: props.list_keys.clone() },
    };
    Type::List { element: Box::new(element), kind }
}

fn object(schema: &mut Schema, name: &str, props: &Props, is_resource: bool) -> StructId {
    // Names of fields may have dots in them, and so may be the same as a path of others.
    let mut name = name.to_string();
    while schema.find(&name).is_some() {
        name.push('\'');
    }
    let id = schema.declare(&name);
    let mut fields: Vec<(String, Field)> = Vec::new();
    for (field, props_of_field) in &props.properties {
        let ty = type_of(schema, &format!("{name}.{field}"), props_of_field);
        fields.push((field.clone(), plain(ty, props.required.contains(field))));
    }
    if is_resource {
        let string = || plain(Type::Scalar(Scalar::String), true);
        let metadata = plain(Type::Struct { id: object_meta(schema) }, false);
        fields.extend([("apiVersion".into(), string()), ("kind".into(), string()), ("metadata".into(), metadata)]);
    }
    let defaults = props.properties.iter().filter_map(|(field, props)| Some((field.clone(), props.default.clone()?)));
    let declared = schema.struct_mut(id);
    declared.defaults = defaults.collect();
    declared.fields = fields.into_iter().collect();
    declared.atomic = props.map_atomic;
    declared.preserve_unknown = props.preserve_unknown || matches!(props.additional, Some(Additional::Any(true)));
    declared.loose = true;
    id
}

fn plain(ty: Type, required: bool) -> Field {
    Field { ty, required, written: false, pointer: false, tag: 0, patch: PatchStrategy::default(), go_type: None }
}

/// `metadata` is the same for all kinds, and typed as strictly as that of built-in ones.
fn object_meta(schema: &mut Schema) -> StructId {
    let builtin = schema::builtin();
    copy(schema, builtin, builtin.find("meta.v1.ObjectMeta").expect("the facts have ObjectMeta"))
}

fn copy(schema: &mut Schema, from: &Schema, id: StructId) -> StructId {
    let original = from.get(id);
    if let Some(copied) = schema.find(&original.name) {
        return copied;
    }
    let copied = schema.declare(&original.name);
    let mut structure = original.clone();
    for field in structure.fields.values_mut() {
        field.ty = copy_type(schema, from, &field.ty);
    }
    *schema.struct_mut(copied) = structure;
    copied
}

fn copy_type(schema: &mut Schema, from: &Schema, ty: &Type) -> Type {
    match ty {
        Type::Struct { id } => Type::Struct { id: copy(schema, from, *id) },
        Type::List { element, kind } => {
            Type::List { element: Box::new(copy_type(schema, from, element)), kind: kind.clone() }
        }
        Type::Map { value, atomic } => Type::Map { value: Box::new(copy_type(schema, from, value)), atomic: *atomic },
        Type::Scalar(_) | Type::Any => ty.clone(),
    }
}
