//! What is known about the shape of every type: fields, their types, how lists and maps merge.
//!
//! One structure for built-in kinds (read from generated facts) and for custom resources (from their structural
//! schema), so that decoding, strategic merge, server-side apply and OpenAPI need to know only this.
//! Strategic-merge and server-side-apply keys differ in many lists, so both are kept.

mod facts;

pub use facts::short_group;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::GroupVersionKind;

/// All types of one API, or of one custom resource.
#[derive(Debug, Default)]
pub struct Schema {
    structs: Vec<Struct>,
    by_name: BTreeMap<String, StructId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StructId(usize);

/// An object with named fields.
#[derive(Clone, Debug, Default)]
pub struct Struct {
    /// Name as in the API description without the `io.k8s...` prefix, such as `apps.v1.DaemonSetSpec`.
    pub name: String,
    /// What an object of this type says in `apiVersion` and `kind`; `None` for parts of objects.
    pub gvk: Option<GroupVersionKind>,
    pub fields: BTreeMap<String, Field>,
    /// Server-side apply owns it as a whole (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Fields that are not listed are kept as they are (`x-kubernetes-preserve-unknown-fields`).
    pub preserve_unknown: bool,
    /// Part of a custom resource: values are kept as they were sent, empty ones and nulls too, and it is validation
    /// that looks at their types. Unknown fields are still dropped unless `preserve_unknown`.
    pub loose: bool,
    /// Defaults in the API description. Server-side apply needs them where the key of a list element is left out, as
    /// `protocol` of a port; everything else is defaulted by [`crate::defaults`]. A required field that is not listed
    /// has the zero value of its type.
    pub defaults: BTreeMap<String, serde_json::Value>,
    /// Messages that exist only in the protobuf form, by tag: JSON has their fields right here.
    pub inlined: Vec<(u32, StructId)>,
    /// What the protobuf form holds, by tag. Empty for custom resources.
    pub parts: Vec<(u32, Part)>,
}

/// Something with a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The field of this name.
    Field(String),
    /// An inlined message.
    Message(StructId),
}

#[derive(Clone, Debug)]
pub struct Field {
    pub ty: Type,
    /// The API description lists it as required.
    pub required: bool,
    /// Go writes it even if it is empty: as `""`, `0`, `{}`, or as `null` where the zero value is nil.
    pub written: bool,
    /// A pointer in Go: absent and zero are two things, and zero is written.
    pub pointer: bool,
    /// Tag in the protobuf form; 0 where there is none, or where the field is in an inlined message.
    pub tag: u32,
    pub patch: PatchStrategy,
    /// Go's name of the type where it does not follow from `ty`, such as `v1.PullPolicy`. Error messages say it.
    pub go_type: Option<&'static str>,
}

/// How strategic merge patch treats a field. Source: `patchStrategy` and `patchMergeKey`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists merge by `merge_key`, or as sets of primitives where there is no key; otherwise they are replaced.
    pub merge: bool,
    pub retain_keys: bool,
    /// An object is replaced, where it would be merged otherwise (`spec.selector` of a PodDisruptionBudget).
    pub replace: bool,
    pub merge_key: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Scalar(Scalar),
    Struct {
        id: StructId,
    },
    List {
        element: Box<Type>,
        kind: ListKind,
    },
    /// String keys.
    Map {
        value: Box<Type>,
        atomic: bool,
    },
    /// Any JSON that server-side apply owns as a whole: `RawExtension`, `FieldsV1`, JSON-schema defaults. (Unstructured
    /// parts of custom resources, where every field has an owner, are structs that preserve unknown fields.)
    Any,
}

/// How server-side apply treats a list. Source: `x-kubernetes-list-type` and `-list-map-keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    Atomic,
    Set,
    Map { keys: Vec<String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    /// Base64 in JSON.
    Bytes,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339 with six digits.
    MicroTime,
    /// Go duration text.
    Duration,
    Quantity,
    IntOrString,
}

impl Schema {
    /// Adds an empty struct, or finds the one of that name; fill it through [`Schema::struct_mut`].
    pub fn declare(&mut self, name: &str) -> StructId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = StructId(self.structs.len());
        self.structs.push(Struct { name: name.to_string(), ..Struct::default() });
        self.by_name.insert(name.to_string(), id);
        id
    }

    pub fn find(&self, name: &str) -> Option<StructId> {
        self.by_name.get(name).copied()
    }

    pub fn get(&self, id: StructId) -> &Struct {
        &self.structs[id.0]
    }

    pub fn struct_mut(&mut self, id: StructId) -> &mut Struct {
        &mut self.structs[id.0]
    }

    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = &Struct> {
        self.structs.iter()
    }

    /// Sorts what the protobuf form holds.
    fn sort_parts(&mut self) {
        for structure in &mut self.structs {
            let fields = structure.fields.iter().filter(|(_, field)| field.tag != 0);
            let fields = fields.map(|(name, field)| (field.tag, Part::Field(name.clone())));
            let inlined = structure.inlined.iter().map(|(tag, id)| (*tag, Part::Message(*id)));
            structure.parts = fields.chain(inlined).collect();
            structure.parts.sort_by_key(|(tag, _)| *tag);
        }
    }

    /// The names of all structs with an `apiVersion` and a `kind` of their own, in order.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.by_name.iter().filter(|(_, id)| self.get(**id).gvk.is_some()).map(|(name, _)| name.as_str())
    }

    /// The field of a struct type; `None` for other types and for unknown names.
    pub fn field(&self, ty: &Type, name: &str) -> Option<&Field> {
        match ty {
            Type::Struct { id } => self.get(*id).fields.get(name),
            _ => None,
        }
    }
}

/// The schema of all built-in kinds, read once from the generated facts.
pub fn builtin() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(facts::read);
    &SCHEMA
}

/// The type of a built-in kind, of a kind that only subresources take (`Eviction`, `TokenRequest`), or of
/// `DeleteOptions` in any group.
pub fn type_of(gvk: &GroupVersionKind) -> Option<Type> {
    let schema = builtin();
    let (group, version) = match gvk.kind.as_str() {
        "DeleteOptions" | "Status" => ("meta", "v1"),
        _ => (facts::short_group(&gvk.group), gvk.version.as_str()),
    };
    let id = schema.find(&format!("{group}.{version}.{}", gvk.kind))?;
    let found = schema.get(id).gvk.as_ref()?;
    (group == "meta" || found.group == gvk.group).then_some(Type::Struct { id })
}
