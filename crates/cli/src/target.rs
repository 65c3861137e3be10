//! The objects a command line means: `TYPE NAME...`, `TYPE/NAME...`, `TYPE -l ...`, `-f FILE`.

use backstay_api::meta;
use backstay_api::resources::Resource;
use serde_json::Value;

use crate::discovery;
use crate::error::{Failure, Outcome, quoted};
use crate::files::{Document, FileArgs};
use crate::server::Call;
use crate::session::Session;

/// The objects that a verb is for.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TargetArgs {
    /// TYPE NAME..., TYPE/NAME..., or TYPE alone for all of that type
    #[arg(value_name = "TYPE/NAME")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub files: FileArgs,
    /// Label query, as in -l app=x,tier!=y
    #[arg(short = 'l', long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    pub selector: String,
}

impl TargetArgs {
    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && self.files.is_empty()
    }

    pub fn wanted(&self) -> Wanted<'_> {
        Wanted {
            words: &self.words,
            files: Some(&self.files),
            selector: &self.selector,
            type_alone: true,
            ..Wanted::default()
        }
    }
}

/// The objects that a verb is for, if it takes all of a type only when it is told so.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ManyArgs {
    /// TYPE NAME..., TYPE/NAME..., or TYPE with -l or --all
    #[arg(value_name = "TYPE/NAME")]
    words: Vec<String>,
    #[command(flatten)]
    pub files: FileArgs,
    /// Label query, as in -l app=x,tier!=y
    #[arg(short = 'l', long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    pub selector: String,
    /// Field query
    #[arg(long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    pub field_selector: String,
    /// All objects of the type
    #[arg(long)]
    pub all: bool,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

impl ManyArgs {
    pub fn wanted(&self) -> Wanted<'_> {
        Wanted {
            words: &self.words,
            files: Some(&self.files),
            selector: &self.selector,
            field_selector: &self.field_selector,
            all_namespaces: self.all_namespaces,
            type_alone: self.all,
        }
    }
}

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    pub words: &'a [String],
    pub files: Option<&'a FileArgs>,
    pub selector: &'a str,
    pub field_selector: &'a str,
    pub all_namespaces: bool,
    /// A type without a name means all of that type.
    pub type_alone: bool,
}

/// One thing to look at.
#[derive(Clone, Debug)]
pub enum Pick {
    Named { resource: Resource, namespace: Option<String>, name: String },
    Listed { resource: Resource, namespace: Option<String> },
    InFile { resource: Resource, namespace: Option<String>, document: Document },
}

/// An object, as the server has it or as a file says it should be.
#[derive(Clone, Debug)]
pub struct Item {
    pub resource: Resource,
    pub namespace: Option<String>,
    pub name: String,
    pub object: Value,
    /// The file that named it.
    pub source: Option<String>,
}

impl Wanted<'_> {
    /// What is to be looked at, before anything is fetched.
    pub async fn picks(&self, session: &Session) -> Outcome<Vec<Pick>> {
        match self.files.filter(|files| !files.is_empty()) {
            Some(files) if !self.words.is_empty() && files.read(&session.io).is_err() => {
                from_files(session, files).await
            }
            Some(_) if !self.words.is_empty() => Err(Failure::plain(
                "when paths, URLs, or stdin is provided as resource input, you may not specify resource arguments as \
                 well",
            )),
            Some(files) => from_files(session, files).await,
            None => self.picks_of_words(session).await,
        }
    }

    /// The objects themselves, and what went wrong on the way.
    pub async fn items(&self, session: &Session) -> Outcome<(Vec<Item>, Vec<Failure>)> {
        let mut items = Vec::new();
        let mut failures = Vec::new();
        for pick in self.picks(session).await? {
            match self.fetch(session, pick).await {
                Ok(found) => items.extend(found),
                Err(failure) => failures.push(failure),
            }
        }
        Ok((items, failures))
    }

    pub async fn fetch(&self, session: &Session, pick: Pick) -> Outcome<Vec<Item>> {
        match pick {
            Pick::Named { resource, namespace, name } => Ok(vec![get(session, resource, namespace, name, None).await?]),
            Pick::InFile { resource, namespace, document } => {
                let name = meta::name(&document.object).to_string();
                Ok(vec![get(session, resource, namespace, name, Some(document.source)).await?])
            }
            Pick::Listed { resource, namespace } => {
                let list = self.list(session, &resource, namespace.as_deref()).await?;
                Ok(list.into_iter().map(|object| Item::of(resource.clone(), object)).collect())
            }
        }
    }

    /// All objects of a type that fit the selectors, with their kind filled in.
    pub async fn list(&self, session: &Session, resource: &Resource, namespace: Option<&str>) -> Outcome<Vec<Value>> {
        let call = self.list_call(resource, namespace);
        let list = match session.server.list(&call).await {
            Err(failure) => return Err(or_unknown(session, resource, failure).await),
            Ok(list) => list,
        };
        Ok(items_of(&list, resource))
    }

    pub fn list_call(&self, resource: &Resource, namespace: Option<&str>) -> Call {
        Call::get(discovery::collection_path(resource, namespace))
            .maybe("labelSelector", self.selector)
            .maybe("fieldSelector", self.field_selector)
    }

    async fn picks_of_words(&self, session: &Session) -> Outcome<Vec<Pick>> {
        let Some(first) = self.words.first() else {
            return Err(Failure::plain("required resource not specified"));
        };
        if self.words.iter().any(|word| word.contains('/')) {
            return self.picks_of_pairs(session).await;
        }
        let resources = types(session, first).await?;
        let names = &self.words[1..];
        if names.is_empty() {
            return self.of_types(session, resources);
        }
        self.check_names("name cannot be provided when a selector is specified")?;
        let named = |resource: &Resource, name: &String| Pick::Named {
            namespace: namespace_of(session, resource),
            resource: resource.clone(),
            name: name.clone(),
        };
        Ok(resources.iter().flat_map(|resource| names.iter().map(|name| named(resource, name))).collect())
    }

    /// All words are `TYPE/NAME`.
    async fn picks_of_pairs(&self, session: &Session) -> Outcome<Vec<Pick>> {
        let mut picks = Vec::new();
        for word in self.words {
            let Some((kind, name)) = word.split_once('/') else {
                return Err(Failure::plain(format!(
                    "there is no need to specify a resource type as a separate argument when passing arguments in \
                     resource/name form (e.g. '{program} get resource/<resource_name>' instead of '{program} get \
                     resource resource/<resource_name>'",
                    program = "kubectl"
                )));
            };
            if kind.is_empty() || name.is_empty() || name.contains('/') {
                return Err(Failure::plain("arguments in resource/name form must have a single resource and name"));
            }
            self.check_names("selectors and the all flag cannot be used when passing resource/name arguments")?;
            for resource in types(session, kind).await? {
                let namespace = namespace_of(session, &resource);
                picks.push(Pick::Named { resource, namespace, name: name.to_string() });
            }
        }
        Ok(picks)
    }

    fn check_names(&self, with_selector: &str) -> Outcome {
        if !self.selector.is_empty() || !self.field_selector.is_empty() {
            return Err(Failure::plain(with_selector));
        }
        if self.all_namespaces {
            return Err(Failure::plain("a resource cannot be retrieved by name across all namespaces"));
        }
        Ok(())
    }

    fn of_types(&self, session: &Session, resources: Vec<Resource>) -> Outcome<Vec<Pick>> {
        if !self.type_alone && self.selector.is_empty() && self.field_selector.is_empty() {
            return Err(Failure::plain("resource(s) were provided, but no name was specified"));
        }
        let listed = |resource: Resource| {
            let namespace = if self.all_namespaces { None } else { namespace_of(session, &resource) };
            Pick::Listed { resource, namespace }
        };
        Ok(resources.into_iter().map(listed).collect())
    }
}

impl Item {
    pub fn of(resource: Resource, object: Value) -> Self {
        let namespace = meta::namespace(&object).map(str::to_string);
        Self { namespace, name: meta::name(&object).to_string(), resource, object, source: None }
    }

    pub fn path(&self) -> String {
        discovery::object_path(&self.resource, self.namespace.as_deref(), &self.name)
    }
}

/// Comma-separated types, and categories such as `all`.
async fn types(session: &Session, words: &str) -> Outcome<Vec<Resource>> {
    let mut found = Vec::new();
    for word in words.split(',') {
        if word.is_empty() {
            return Err(Failure::plain("arguments must consist of a resource or a resource and name"));
        }
        if word == "all" {
            found.extend(session.resolver.category(word).await?);
        } else {
            found.push(session.resolver.resource(word).await?);
        }
    }
    Ok(found)
}

pub fn namespace_of(session: &Session, resource: &Resource) -> Option<String> {
    resource.namespaced.then(|| session.namespace.clone())
}

async fn get(
    session: &Session,
    resource: Resource,
    namespace: Option<String>,
    name: String,
    source: Option<String>,
) -> Outcome<Item> {
    match session.get(&resource, namespace.as_deref(), &name).await {
        Ok(object) => Ok(Item { resource, namespace, name, object, source }),
        Err(failure) => Err(or_unknown(session, &resource, failure).await),
    }
}

/// A type that is known here may be unknown to the server: then say that, instead of what it said about the path.
pub async fn or_unknown(session: &Session, resource: &Resource, failure: Failure) -> Failure {
    if !failure.is_unknown_path() {
        return failure;
    }
    match session.resolver.on_server(resource).await {
        Err(unknown) => unknown,
        Ok(_) => failure,
    }
}

/// The items of a list, with kind and version, which servers leave out there.
pub fn items_of(list: &Value, resource: &Resource) -> Vec<Value> {
    let complete = |item: &Value| {
        let mut item = item.clone();
        if let Some(fields) = item.as_object_mut() {
            fields.entry("apiVersion").or_insert_with(|| resource.api_version().into());
            fields.entry("kind").or_insert_with(|| resource.kind.clone().into());
        }
        item
    };
    meta::list_at(list, &["items"]).iter().map(complete).collect()
}

/// Documents with the resource and namespace they belong to.
pub async fn from_files(session: &Session, files: &FileArgs) -> Outcome<Vec<Pick>> {
    let mut picks = Vec::new();
    for document in files.read(&session.io)? {
        picks.push(of_document(session, document).await?);
    }
    Ok(picks)
}

async fn of_document(session: &Session, document: Document) -> Outcome<Pick> {
    let gvk = document.gvk()?;
    let Some(resource) = session.resolver.kind(&gvk).await? else {
        let object = &document.object;
        return Err(Failure::plain(format!(
            "resource mapping not found for name: {} namespace: {} from {}: no matches for kind {} in version {}\n\
             ensure CRDs are installed first",
            quoted(meta::name(object)),
            quoted(meta::namespace(object).unwrap_or("")),
            quoted(&document.source),
            quoted(&gvk.kind),
            quoted(&gvk.api_version()),
        )));
    };
    let namespace = match meta::namespace(&document.object) {
        _ if !resource.namespaced => None,
        Some(own) if session.namespace_given && own != session.namespace => {
            return Err(Failure::plain(format!(
                "the namespace from the provided object {} does not match the namespace {}. You must pass \
                 '--namespace={own}' to perform this operation.",
                quoted(own),
                quoted(&session.namespace),
            )));
        }
        Some(own) => Some(own.to_string()),
        None => Some(session.namespace.clone()),
    };
    Ok(Pick::InFile { resource, namespace, document })
}
