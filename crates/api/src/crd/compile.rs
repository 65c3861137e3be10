//! One version of a custom resource, ready to be served.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::props::Props;
use super::scale::ScalePaths;
use super::validations::{Findings, Validator};
use super::{defaulting, names, simple_path, types, value};
use crate::meta::{list_at, str_at, value_at};
use crate::resources::{Resource, Subresource};
use crate::schema::{Schema, Type};
use crate::table::{Column, Printer, custom_cells, custom_columns, custom_printers};
use crate::validation::field::{self, Path};
use crate::{GroupVersionKind, meta};

/// One served version of a definition.
#[derive(Clone, Debug)]
pub struct CustomResource {
    pub resource: Resource,
    /// For [`crate::decode`], which prunes unknown fields by it, and for [`crate::managed`].
    pub schema: Arc<Schema>,
    pub ty: Type,
    pub list_kind: String,
    /// Goes as a `Warning` header with every request that speaks this version.
    pub deprecation_warning: Option<String>,
    /// The element of `spec.versions`.
    version: Value,
    props: Props,
    validator: Option<Validator>,
    printers: Vec<Printer>,
    scale: Option<ScalePaths>,
}

/// The resources of a definition, one per served version in the order of the definition; none before it is
/// established.
pub fn compile(definition: &Value) -> Vec<CustomResource> {
    if !names::is_established(definition) {
        return Vec::new();
    }
    let versions = list_at(definition, &["spec", "versions"]).iter();
    let served = versions.filter(|version| version.get("served") == Some(&Value::Bool(true)));
    served.map(|version| CustomResource::of(definition, version)).collect()
}

/// Objects with such faults are not what rules expect.
const UNCHECKED_AFTER: [&str; 5] =
    ["FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"];

impl CustomResource {
    fn of(definition: &Value, version: &Value) -> Self {
        let resource = resource(definition, version);
        let open_api = value_at(version, &["schema", "openAPIV3Schema"]).unwrap_or(&Value::Null);
        let props = Props::read(open_api);
        let (schema, ty) = types::declare(&resource.gvk(), &props);
        let deprecated = version.get("deprecated") == Some(&Value::Bool(true));
        let warning = || match str_at(version, &["deprecationWarning"]) {
            "" => format!("{} {} is deprecated", resource.api_version(), resource.kind),
            warning => warning.to_string(),
        };
        Self {
            deprecation_warning: deprecated.then(warning),
            list_kind: str_at(definition, &["status", "acceptedNames", "listKind"]).to_string(),
            scale: value_at(version, &["subresources", "scale"]).map(ScalePaths::read),
            printers: custom_printers(version),
            version: version.clone(),
            schema: Arc::new(schema),
            resource,
            ty,
            validator: Validator::of_resource(open_api, &props),
            props,
        }
    }

    /// Fills in the defaults of the schema, and drops nulls where they are no value. For objects that come in, and
    /// for those from the store, which may be older than the schema.
    pub fn apply_defaults(&self, object: &mut Value) {
        defaulting::apply(&self.props, object);
    }

    /// Everything wrong with an object apart from its `metadata`, which obeys the rules of all kinds. In an update,
    /// what was wrong before may stay wrong as long as it is not touched.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Findings {
        let mut causes = value::validate_update(&self.props, object, old, "");
        causes.extend(value::embedded(&self.props, object, ""));
        if old.is_none_or(|old| value::duplicates(&self.props, old, "").is_empty()) {
            causes.extend(value::duplicates(&self.props, object, ""));
        }
        let Some(validator) = &self.validator else { return Findings { causes, ..Findings::default() } };
        if causes.iter().any(|cause| UNCHECKED_AFTER.contains(&cause.reason.as_str())) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing \
                       errors to complete validation";
            causes.push(field::invalid(&Path::new("<nil>"), Value::Null, why));
            return Findings { causes, ..Findings::default() };
        }
        let mut found = validator.validate(&self.props, object, old, "");
        found.causes.splice(0..0, causes);
        found.causes.iter_mut().filter(|cause| cause.field.is_empty()).for_each(|cause| cause.field = "<nil>".into());
        found
    }

    pub fn columns(&self) -> Vec<Column> {
        custom_columns(&self.version)
    }

    /// The cells of one object, one per column.
    pub fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        custom_cells(&self.printers, object, now)
    }

    /// The fields that field selectors know beside name and namespace, with their values; absent ones are empty.
    pub fn selectable_fields(&self, object: &Value) -> Vec<(String, String)> {
        let paths = list_at(&self.version, &["selectableFields"]).iter().map(|field| str_at(field, &["jsonPath"]));
        let selectable = paths.map(|path| {
            let value = match simple_path::find(object, path) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => String::new(),
                Some(other) => other.to_string(),
            };
            (path.trim_start_matches('.').to_string(), value)
        });
        selectable.collect()
    }

    /// The `autoscaling/v1` Scale of an object; `None` if the resource cannot be scaled.
    pub fn scale(&self, object: &Value) -> Option<Value> {
        self.scale.as_ref().map(|paths| paths.show(object))
    }

    /// The path of the wanted replicas, if an object that can be scaled has none there: there is no Scale to see yet.
    pub fn unset_scale(&self, object: &Value) -> Option<&str> {
        self.scale.as_ref().and_then(|paths| paths.unset(object))
    }

    /// Writes the replicas of a Scale into an object; `None` if the resource cannot be scaled.
    pub fn set_scale(&self, object: &mut Value, scale: &Value) -> Option<()> {
        self.scale.as_ref().map(|paths| paths.set(object, scale))
    }

    /// The schema as the definition gives it, for OpenAPI documents.
    pub fn open_api(&self) -> &Value {
        value_at(&self.version, &["schema", "openAPIV3Schema"]).unwrap_or(&Value::Null)
    }
}

fn resource(definition: &Value, version: &Value) -> Resource {
    let names = value_at(definition, &["status", "acceptedNames"]).unwrap_or(&Value::Null);
    let strings = |name: &str| list_at(names, &[name]).iter().filter_map(Value::as_str).map(str::to_string).collect();
    let group = str_at(definition, &["spec", "group"]);
    let kind = str_at(names, &["kind"]);
    let plural = str_at(names, &["plural"]);
    let gvk = |version: &str| GroupVersionKind::new(group, version, kind);
    let name = str_at(version, &["name"]);
    Resource {
        group: group.to_string(),
        version: name.to_string(),
        kind: kind.to_string(),
        plural: plural.to_string(),
        singular: str_at(names, &["singular"]).to_string(),
        namespaced: str_at(definition, &["spec", "scope"]) == "Namespaced",
        verbs: words(&["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]),
        short_names: strings("shortNames"),
        categories: strings("categories"),
        subresources: subresources(version, &gvk(name)),
        storage: format!("{group}/{plural}"),
        stored_as: Some(gvk(storage_version(definition))),
    }
}

fn subresources(version: &Value, gvk: &GroupVersionKind) -> Vec<Subresource> {
    let verbs = words(&["get", "patch", "update"]);
    let declared = |name: &str| meta::value_at(version, &["subresources", name]).is_some();
    let kinds = [("status", gvk.clone()), ("scale", GroupVersionKind::new("autoscaling", "v1", "Scale"))];
    let declared = kinds.into_iter().filter(|(name, _)| declared(name));
    declared.map(|(name, kind)| Subresource { name: name.into(), kind, verbs: verbs.clone() }).collect()
}

/// The version that objects are kept in.
fn storage_version(definition: &Value) -> &str {
    let versions = list_at(definition, &["spec", "versions"]).iter();
    let mut stored = versions.filter(|version| version.get("storage") == Some(&Value::Bool(true)));
    stored.next().map_or("", |version| str_at(version, &["name"]))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}
