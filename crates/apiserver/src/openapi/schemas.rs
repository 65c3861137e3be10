//! The schemas of a document: the types of its kinds, and all types that these use.

use std::collections::BTreeSet;

use backstay_api::GroupVersionKind;
use backstay_api::resources::Resource;
use backstay_api::schema::{self, Field, ListKind, Scalar, Schema, Struct, StructId, Type};
use serde_json::{Map, Value, json};

use super::describe::Descriptions;
use super::{Kind, names};

/// `components.schemas`.
pub fn all(kinds: &[Kind<'_>]) -> Map<String, Value> {
    let Some(first) = kinds.first() else { return Map::new() };
    let mut writer = Writer {
        schema: schema::builtin(),
        descriptions: Descriptions::of(&first.resource.group, &first.resource.version),
        done: BTreeSet::new(),
        schemas: Map::new(),
    };
    for gvk in [GroupVersionKind::new("", "v1", "DeleteOptions"), GroupVersionKind::new("", "v1", "Status")] {
        writer.add_kind(&gvk);
    }
    writer.schemas.insert(names::schema("meta.v1.Patch"), json!({"type": "object", "description": PATCH}));
    for kind in kinds {
        match kind.custom {
            Some(custom) => writer.add_custom(kind.resource, custom),
            None => writer.add_builtin(kind.resource),
        }
    }
    writer.schemas
}

const PATCH: &str = "The body of a PATCH request, in the form its content type names.";

/// The full name of the type of a kind, if there is one.
pub fn name_of(gvk: &GroupVersionKind) -> Option<String> {
    match schema::type_of(gvk)? {
        Type::Struct { id } => Some(names::schema(&schema::builtin().get(id).name)),
        _ => None,
    }
}

struct Writer {
    schema: &'static Schema,
    descriptions: Descriptions,
    done: BTreeSet<StructId>,
    schemas: Map<String, Value>,
}

impl Writer {
    fn add_builtin(&mut self, resource: &Resource) {
        let gvk = resource.gvk();
        self.add_kind(&gvk);
        for subresource in &resource.subresources {
            self.add_kind(&subresource.kind);
        }
        if let (true, Some(name)) = (resource.verbs.iter().any(|verb| verb == "list"), name_of(&gvk)) {
            self.add_list(&name, &gvk);
        }
    }

    fn add_kind(&mut self, gvk: &GroupVersionKind) {
        if let Some(Type::Struct { id }) = schema::type_of(gvk) {
            self.add_struct(id);
        }
    }

    fn add_list(&mut self, element: &str, gvk: &GroupVersionKind) {
        if let Some(id) = self.schema.find("meta.v1.ListMeta") {
            self.add_struct(id);
        }
        let text = |field: &str| json!({"type": "string", "description": self.descriptions.of_field(element, field)});
        let mut list = json!({
            "type": "object", "description": format!("A list of {} objects.", gvk.kind), "required": ["items"],
            "properties": {
                "apiVersion": text("apiVersion"), "kind": text("kind"),
                "metadata": reference(&names::schema("meta.v1.ListMeta")),
                "items": {"type": "array", "items": reference(element)},
            },
        });
        remove_nulls(&mut list);
        let kind = GroupVersionKind::new(&gvk.group, &gvk.version, &format!("{}List", gvk.kind));
        list["x-kubernetes-group-version-kind"] = json!([kind]);
        self.schemas.insert(format!("{element}List"), list);
    }

    fn add_custom(&mut self, resource: &Resource, custom: &Value) {
        if let Some(id) = self.schema.find("meta.v1.ObjectMeta") {
            self.add_struct(id);
        }
        let name = names::custom_schema(resource);
        let mut own = if custom.is_object() { custom.clone() } else { json!({"type": "object"}) };
        own["x-kubernetes-group-version-kind"] = json!([resource.gvk()]);
        if own["properties"].is_object() {
            own["properties"]["apiVersion"] = json!({"type": "string"});
            own["properties"]["kind"] = json!({"type": "string"});
            own["properties"]["metadata"] = reference(&names::schema("meta.v1.ObjectMeta"));
        }
        self.schemas.insert(name.clone(), own);
        self.add_list(&name, &resource.gvk());
    }

    fn add_struct(&mut self, id: StructId) {
        if !self.done.insert(id) {
            return;
        }
        let structure = self.schema.get(id);
        let name = names::schema(&structure.name);
        let mut properties = Map::new();
        for (field_name, field) in &structure.fields {
            let mut property = self.property(field);
            if let Some(description) = self.descriptions.of_field(&name, field_name) {
                property.insert("description".into(), description.into());
            }
            properties.insert(field_name.clone(), Value::Object(property));
        }
        let schema = self.object(&name, structure, properties);
        self.schemas.insert(name, schema);
    }

    fn object(&self, name: &str, structure: &Struct, properties: Map<String, Value>) -> Value {
        let mut out = Map::new();
        out.insert("type".into(), "object".into());
        if let Some(description) = self.descriptions.of_type(name) {
            out.insert("description".into(), description.into());
        }
        if !properties.is_empty() {
            out.insert("properties".into(), properties.into());
        }
        let required = structure.fields.iter().filter(|(_, field)| field.required).map(|(name, _)| name.as_str());
        let required: Vec<&str> = required.collect();
        if !required.is_empty() {
            out.insert("required".into(), json!(required));
        }
        if structure.atomic {
            out.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        if let Some(gvk) = &structure.gvk {
            out.insert("x-kubernetes-group-version-kind".into(), json!([gvk]));
        }
        Value::Object(out)
    }

    fn property(&mut self, field: &Field) -> Map<String, Value> {
        let mut property = match self.value(&field.ty, field.go_type) {
            Value::Object(property) => property,
            _ => Map::new(),
        };
        let mut strategies = Vec::new();
        strategies.extend(field.patch.merge.then_some("merge"));
        strategies.extend(field.patch.retain_keys.then_some("retainKeys"));
        strategies.extend(field.patch.replace.then_some("replace"));
        if !strategies.is_empty() {
            property.insert("x-kubernetes-patch-strategy".into(), strategies.join(",").into());
        }
        if let Some(key) = &field.patch.merge_key {
            property.insert("x-kubernetes-patch-merge-key".into(), key.as_str().into());
        }
        property
    }

    fn value(&mut self, ty: &Type, go_type: Option<&str>) -> Value {
        match ty {
            Type::Scalar(scalar) => self.scalar(*scalar),
            Type::Struct { id } => {
                self.add_struct(*id);
                reference(&names::schema(&self.schema.get(*id).name))
            }
            Type::List { element, kind } => {
                let element_type = go_type.and_then(|name| name.strip_prefix("[]"));
                let mut list = json!({"type": "array", "items": self.value(element, element_type)});
                let (name, keys) = match kind {
                    ListKind::Atomic => ("atomic", None),
                    ListKind::Set => ("set", None),
                    ListKind::Map { keys } => ("map", Some(keys)),
                };
                list["x-kubernetes-list-type"] = name.into();
                if let Some(keys) = keys {
                    list["x-kubernetes-list-map-keys"] = json!(keys);
                }
                list
            }
            Type::Map { value, atomic } => {
                let value_type = go_type.filter(|name| *name == "v1.JSONSchemaDependencies").map(|_| STRING_ARRAY);
                let mut map = json!({"type": "object", "additionalProperties": self.value(value, value_type)});
                if *atomic {
                    map["x-kubernetes-map-type"] = "atomic".into();
                }
                map
            }
            Type::Any => match go_type.and_then(|name| name.strip_prefix("v1.JSON")) {
                Some(name) => self.any(&names::schema(&format!("apiextensions.v1.JSON{name}"))),
                None => json!({"type": "object"}),
            },
        }
    }

    fn scalar(&mut self, scalar: Scalar) -> Value {
        let (name, schema) = match scalar {
            Scalar::String | Scalar::Duration => return json!({"type": "string"}),
            Scalar::Bool => return json!({"type": "boolean"}),
            Scalar::Int32 => return json!({"type": "integer", "format": "int32"}),
            Scalar::Int64 => return json!({"type": "integer", "format": "int64"}),
            Scalar::Double => return json!({"type": "number", "format": "double"}),
            Scalar::Bytes => return json!({"type": "string", "format": "byte"}),
            Scalar::Time => ("apis.meta.v1.Time", json!({"type": "string", "format": "date-time"})),
            Scalar::MicroTime => ("apis.meta.v1.MicroTime", json!({"type": "string", "format": "date-time"})),
            Scalar::Quantity => ("api.resource.Quantity", json!({"oneOf": [{"type": "string"}, {"type": "number"}]})),
            Scalar::IntOrString => (
                "util.intstr.IntOrString",
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            ),
        };
        self.named(&format!("io.k8s.apimachinery.pkg.{name}"), schema)
    }

    /// JSON of any type, as the schemas of custom resources hold it.
    fn any(&mut self, name: &str) -> Value {
        self.named(name, json!({}))
    }

    /// A reference to a schema that is no struct; the schema is added the first time.
    fn named(&mut self, name: &str, mut schema: Value) -> Value {
        if !self.schemas.contains_key(name) {
            if let Some(description) = self.descriptions.of_type(name) {
                schema["description"] = description.into();
            }
            self.schemas.insert(name.to_string(), schema);
        }
        reference(name)
    }
}

/// What the values of `dependencies` are in the schemas of custom resources.
const STRING_ARRAY: &str = "v1.JSONSchemaPropsOrStringArray";

/// A reference beside which a description may stand: version 3.0 ignores what stands beside a plain `$ref`.
fn reference(full_name: &str) -> Value {
    json!({"allOf": [{"$ref": names::reference(full_name)}]})
}

fn remove_nulls(schema: &mut Value) {
    let properties = schema["properties"].as_object_mut().into_iter().flatten();
    for (_, property) in properties {
        if let Some(fields) = property.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
    }
}
