//! Which resources are served: the built-in ones, and those that CustomResourceDefinitions add while the server runs.
//!
//! The catalog follows the definitions in the store by itself: whoever has seen a definition established finds its
//! resources served, whichever way it came into the store.

mod rules;

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use backstay_api::crd::{self, CustomResource};
use backstay_api::resources::{self, Resource};
use backstay_api::schema::{self, Schema, Type};
use backstay_store::{Entry, Range, Revision, Store, Watch};

use crate::{custom, encode};

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
    store: Arc<dyn Store>,
    builtin: Vec<Arc<Served>>,
    current: Mutex<Current>,
}

/// What each definition serves, by its name, with the revision of the definition.
type Made = BTreeMap<Arc<str>, (Revision, Vec<Arc<Served>>)>;

/// What the newest definitions make, and the watch that tells when they change.
#[derive(Default)]
struct Current {
    contents: Arc<Contents>,
    made: Made,
    watch: Option<Box<dyn Watch>>,
}

/// What is served at one moment.
#[derive(Default)]
pub struct Contents {
    /// In discovery order, custom resources last.
    pub all: Vec<Arc<Served>>,
    /// What bears a plural name, seldom more than one.
    by_plural: HashMap<String, Vec<Arc<Served>>>,
}

impl Catalog {
    pub fn new(store: Arc<dyn Store>) -> Self {
        let builtin = resources::builtin().iter().map(|resource| Arc::new(builtin_kind(resource))).collect();
        Self { store, builtin, current: Mutex::default() }
    }

    /// What the newest definitions make.
    pub fn contents(&self) -> Arc<Contents> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.is_fresh() {
            *current = self.read(&current.made);
        }
        current.contents.clone()
    }

    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Served>> {
        self.contents().find(group, version, plural)
    }

    /// A built-in resource cannot be shadowed: it comes first. Without a watch, all is read again next time.
    fn read(&self, before: &Made) -> Current {
        let snapshot = self.store.snapshot();
        let range = Range::all(custom::DEFINITIONS);
        let watch = self.store.watch(range.clone(), snapshot.revision()).ok();
        let made = snapshot.list(&range, None, 0).into_iter().map(|entry| {
            let served = match before.get(&entry.key.name) {
                Some((revision, served)) if *revision == entry.revision => served.clone(),
                _ => custom_kinds(&entry),
            };
            (entry.key.name.clone(), (entry.revision, served))
        });
        let made: Made = made.collect();
        let all = self.builtin.iter().chain(made.values().flat_map(|(_, served)| served)).cloned().collect();
        Current { contents: Arc::new(Contents::new(all)), made, watch }
    }
}

impl Current {
    fn is_fresh(&mut self) -> bool {
        self.watch.as_mut().is_some_and(|watch| matches!(watch.try_next(), Ok(None)))
    }
}

impl Contents {
    fn new(all: Vec<Arc<Served>>) -> Self {
        let mut by_plural: HashMap<String, Vec<Arc<Served>>> = HashMap::new();
        for served in &all {
            by_plural.entry(served.resource.plural.clone()).or_default().push(served.clone());
        }
        Self { all, by_plural }
    }

    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Served>> {
        let named = self.by_plural.get(plural)?;
        named.iter().find(|served| served.resource.group == group && served.resource.version == version).cloned()
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

/// What a definition serves; nothing before it is established.
fn custom_kinds(definition: &Entry) -> Vec<Arc<Served>> {
    let serve = |custom: CustomResource| {
        let (schema, ty) = (SchemaSource::Custom(custom.schema.clone()), custom.ty.clone());
        Arc::new(Served::custom(custom.resource.clone(), schema, ty, custom))
    };
    crd::compile(&encode::parse(definition)).into_iter().map(serve).collect()
}
