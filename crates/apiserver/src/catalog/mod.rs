//! Which resources are served: the built-in ones, and those that CustomResourceDefinitions add while the server runs.

mod rules;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, RwLock};

use backstay_api::crd::CustomResource;
use backstay_api::resources::{self, Resource};
use backstay_api::schema::{self, Schema, Type};

/// One served resource with what is known about its type.
#[derive(Debug)]
pub struct Served {
    pub resource: Resource,
    pub schema: SchemaSource,
    pub ty: Type,
    /// What a CustomResourceDefinition says of it: such lists carry the kind of each item, and strategic merge is not
    /// possible.
    pub custom: Option<Box<CustomResource>>,
    storage: Arc<str>,
    prefix: Vec<u8>,
}

/// The schema that a type points into.
#[derive(Clone, Debug)]
pub enum SchemaSource {
    Builtin,
    Custom(Arc<Schema>),
}

impl Deref for SchemaSource {
    type Target = Schema;

    fn deref(&self) -> &Schema {
        match self {
            SchemaSource::Builtin => schema::builtin(),
            SchemaSource::Custom(schema) => schema,
        }
    }
}

impl Served {
    /// A built-in resource.
    pub fn new(resource: Resource, schema: SchemaSource, ty: Type) -> Self {
        let storage = resource.storage.as_str().into();
        let prefix = prefix(&resource.kind, &resource.api_version()).into_bytes();
        Self { resource, schema, ty, custom: None, storage, prefix }
    }

    /// A custom resource.
    pub fn custom(resource: Resource, schema: SchemaSource, ty: Type, custom: CustomResource) -> Self {
        Self { custom: Some(Box::new(custom)), ..Self::new(resource, schema, ty) }
    }

    /// The `resource` part of this resource's keys in the store.
    pub fn storage(&self) -> &Arc<str> {
        &self.storage
    }

    /// How every encoded object of this resource begins: `{"kind":"...","apiVersion":"...",`.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Can be kept in the store (reviews and bindings cannot).
    pub fn is_stored(&self) -> bool {
        self.resource.stored_as.is_some()
    }

    pub fn has_status(&self) -> bool {
        self.resource.subresource("status").is_some()
    }

    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.resource.group == group && self.resource.plural == plural
    }
}

/// How an object of this kind begins.
pub fn prefix(kind: &str, api_version: &str) -> String {
    format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",")
}

/// All served resources. Readers get a consistent view; a change replaces it as a whole.
pub struct Catalog {
    builtin: Vec<Arc<Served>>,
    current: RwLock<Arc<Contents>>,
}

/// What is served at one moment.
#[derive(Default)]
pub struct Contents {
    /// In discovery order, custom resources last.
    pub all: Vec<Arc<Served>>,
    by_path: BTreeMap<(String, String, String), Arc<Served>>,
}

impl Default for Catalog {
    fn default() -> Self {
        let builtin: Vec<_> = resources::builtin().iter().map(|resource| Arc::new(builtin_kind(resource))).collect();
        let current = RwLock::new(Arc::new(Contents::new(builtin.clone())));
        Self { builtin, current }
    }
}

impl Catalog {
    pub fn contents(&self) -> Arc<Contents> {
        self.current.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Served>> {
        self.contents().find(group, version, plural)
    }

    /// Serves these custom resources (all there are) beside the built-in ones; a built-in one cannot be shadowed.
    pub fn set_custom(&self, custom: Vec<Served>) {
        let all = self.builtin.iter().cloned().chain(custom.into_iter().map(Arc::new)).collect();
        *self.current.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(Contents::new(all));
    }
}

impl Contents {
    fn new(all: Vec<Arc<Served>>) -> Self {
        let mut by_path = BTreeMap::new();
        for served in &all {
            let Resource { group, version, plural, .. } = &served.resource;
            by_path.entry((group.clone(), version.clone(), plural.clone())).or_insert_with(|| served.clone());
        }
        Self { all, by_path }
    }

    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Served>> {
        self.by_path.get(&(group.to_string(), version.to_string(), plural.to_string())).cloned()
    }

    pub fn has_group_version(&self, group: &str, version: &str) -> bool {
        self.all.iter().any(|served| served.resource.group == group && served.resource.version == version)
    }

    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Served>> {
        self.all
            .iter()
            .find(|served| {
                let Resource { group: g, version: v, kind: k, .. } = &served.resource;
                (g.as_str(), v.as_str(), k.as_str()) == (group, version, kind)
            })
            .cloned()
    }

    /// The form in which objects of this resource are kept; the resource itself if they are kept as they are served.
    pub fn stored_form(&self, served: &Arc<Served>) -> Arc<Served> {
        let kept_as = served.resource.stored_as.as_ref().filter(|kept_as| **kept_as != served.resource.gvk());
        let other = kept_as.and_then(|gvk| self.find_kind(&gvk.group, &gvk.version, &gvk.kind));
        other.unwrap_or_else(|| served.clone())
    }
}

fn builtin_kind(resource: &Resource) -> Served {
    let ty = schema::type_of(&resource.gvk()).unwrap_or(Type::Any);
    Served::new(resource.clone(), SchemaSource::Builtin, ty)
}
