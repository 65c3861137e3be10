//! Lists: which state they show, what they select, and how they are cut into pages.

use std::sync::Arc;
use std::time::Duration;

use backstay_api::patch::json_error;
use backstay_api::selector::{FieldSelector, FieldTerm, LabelSelector};
use backstay_api::{Pairs, Status};
use backstay_store::{Entry, Key, Range, Revision, Snapshot, StoreError};
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

use super::{metadata, past, store_failure};
use crate::answer::list::Page;
use crate::call::Call;
use crate::catalog::Served;
use crate::problem;
use crate::request::options::ListOptions;

/// How long a list waits for a resource version that is not there yet. Source: `blockTimeout` of the watch cache.
const FRESH_WAIT: Duration = Duration::from_secs(3);
const FRESH_POLL: Duration = Duration::from_millis(50);
/// As Go's `RawURLEncoding`: no padding, loose bits at the end are nobody's business.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);
const TOKEN_VERSION: &str = "meta.k8s.io/v1";
const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a \
     new list without the continue parameter, or use the continue token in this response to retrieve the remainder of \
     the results. Continuing with the provided token results in an inconsistent list - objects that were created, \
     modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Where a list continues. `rv` is the revision of all its pages, or -1 for "the newest".
#[derive(Debug, Default, Serialize, Deserialize)]
struct Token {
    #[serde(default)]
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

/// Labels and fields that an entry must have.
#[derive(Clone, Debug)]
pub struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    /// Knows the selected fields of custom objects: they may be older than what makes the fields selectable.
    custom: Option<Arc<Served>>,
}

impl Selection {
    pub fn of(served: &Arc<Served>, options: &ListOptions) -> Self {
        let own = options.fields.terms.iter().any(|term| !term.field.starts_with("metadata."));
        let custom = (own && served.custom.is_some()).then(|| served.clone());
        Self { labels: options.labels.clone(), fields: options.fields.clone(), custom }
    }

    pub fn is_everything(&self) -> bool {
        self.labels.requirements.is_empty() && self.fields.terms.is_empty()
    }

    pub fn matches(&self, entry: &Entry) -> bool {
        let own = self.custom.as_ref().and_then(|served| served.own_fields(entry));
        let fields = own.as_ref().unwrap_or(&entry.index.fields);
        self.fields.terms.iter().all(|term| (field(entry, fields, &term.field) == term.value) == term.equal)
            && (self.labels.requirements.is_empty() || self.labels.matches(&entry.index.labels))
    }

    /// What may be selected, as the store knows it: more than is selected at most.
    pub fn range(&self, call: &Call) -> Range {
        let range = call.range(self.name());
        let own = |term: &&FieldTerm| term.equal && !term.field.starts_with("metadata.") && !term.value.is_empty();
        match self.fields.terms.iter().find(own).filter(|_| self.custom.is_none()) {
            Some(term) => range.with_field(&term.field, &term.value),
            None => range,
        }
    }

    /// The one name that is selected, if it is only one.
    fn name(&self) -> Option<&str> {
        let term = self.fields.terms.iter().find(|term| term.equal && term.field == "metadata.name")?;
        Some(&term.value).filter(|name| !name.is_empty()).map(String::as_str)
    }
}

fn field<'a>(entry: &'a Entry, fields: &'a Pairs, label: &str) -> &'a str {
    match label {
        "metadata.name" => &entry.key.name,
        "metadata.namespace" => &entry.key.namespace,
        label => fields.get(label).unwrap_or_default(),
    }
}

/// One page of the collection.
pub async fn page(call: &Call, options: &ListOptions) -> Result<Page, Status> {
    let selection = Selection::of(&call.served, options);
    let range = selection.range(call);
    let (snapshot, after) = origin(call, options, &range).await?;
    // One more than the limit, if there are as many: then there is another page.
    let wanted = if options.limit == 0 { 0 } else { options.limit + 1 };
    let mut entries = snapshot.select(&range, after.as_ref(), wanted, &|entry| selection.matches(entry));
    let mut page = Page { revision: snapshot.revision(), ..Page::default() };
    if options.limit > 0 && entries.len() > options.limit {
        entries.truncate(options.limit);
        let last = &entries[options.limit - 1].key;
        page.continue_token = token(snapshot.revision(), start(call, last));
        page.remaining = selection.is_everything().then(|| snapshot.count_after(&range, last));
        if snapshot.is_whole() {
            call.core.store.keep(snapshot);
        }
    }
    page.entries = entries;
    Ok(page)
}

/// The state to show, and the key after which to begin.
async fn origin(call: &Call, options: &ListOptions, range: &Range) -> Result<(Arc<dyn Snapshot>, Option<Key>), Status> {
    if !options.continue_token.is_empty() {
        return resume(call, options, range);
    }
    let wanted = metadata::parse_version(&options.resource_version)?;
    // A limit with a version but no match is the old way to ask for exactly that version.
    let exact =
        options.resource_version_match == "Exact" || (options.resource_version_match.is_empty() && options.limit > 0);
    let snapshot = match wanted {
        None if options.resource_version.is_empty() => {
            call.core.store.consistent_snapshot().await.map_err(|error| store_failure(&error))?
        }
        None => call.core.store.snapshot(),
        Some(revision) => {
            let fresh = not_older_than(call, revision).await?;
            if exact { exactly(call, range, revision)? } else { fresh }
        }
    };
    Ok((snapshot, None))
}

/// The newest state, once it is not older than `revision`.
pub async fn not_older_than(call: &Call, revision: Revision) -> Result<Arc<dyn Snapshot>, Status> {
    let store = &call.core.store;
    let deadline = tokio::time::Instant::now() + FRESH_WAIT;
    loop {
        let snapshot = store.consistent_snapshot().await.map_err(|error| store_failure(&error))?;
        if snapshot.revision() >= revision {
            return Ok(snapshot);
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(problem::too_large_resource_version(revision, snapshot.revision()));
        }
        tokio::time::sleep(FRESH_POLL).await;
    }
}

fn exactly(call: &Call, range: &Range, revision: Revision) -> Result<Arc<dyn Snapshot>, Status> {
    past::at(&*call.core.store, range, revision).map_err(|error| match error {
        StoreError::Compacted { .. } => problem::expired("The resourceVersion for the provided list is too old."),
        StoreError::Future { asked, newest } => problem::too_large_resource_version(asked, newest),
        error => store_failure(&error),
    })
}

fn resume(call: &Call, options: &ListOptions, range: &Range) -> Result<(Arc<dyn Snapshot>, Option<Key>), Status> {
    if !options.resource_version.is_empty() && options.resource_version != "0" {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    let token = Token::parse(&options.continue_token)
        .map_err(|why| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}")))?;
    let after = after(call, &token.start);
    let Ok(revision) = Revision::try_from(token.rv) else {
        return Ok((call.core.store.snapshot(), Some(after)));
    };
    match past::at(&*call.core.store, range, revision) {
        Ok(snapshot) => Ok((snapshot, Some(after))),
        Err(StoreError::Compacted { .. } | StoreError::Future { .. }) => Err(expired(&token)),
        Err(error) => Err(store_failure(&error)),
    }
}

/// The 410 that carries a token with which one may go on, inconsistently.
fn expired(token: &Token) -> Status {
    problem::expired(EXPIRED).continue_at(encode_token(-1, &token.start))
}

impl Token {
    fn parse(text: &str) -> Result<Self, String> {
        let bytes = decode_base64(text)?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|error| json_error(&bytes, &error))?;
        if token.v != TOKEN_VERSION {
            return Err(format!("server does not recognize this encoded version {}", token.v));
        }
        if token.rv == 0 {
            return Err(format!("incorrect encoded start resourceVersion (version {TOKEN_VERSION})"));
        }
        if token.start.is_empty() {
            return Err(format!("encoded start key empty (version {TOKEN_VERSION})"));
        }
        Ok(token)
    }
}

fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    BASE64.decode(text).map_err(|error| match error {
        base64::DecodeError::InvalidByte(at, _) => format!("illegal base64 data at input byte {at}"),
        _ => format!("illegal base64 data at input byte {}", text.len()),
    })
}

fn token(revision: Revision, start: String) -> String {
    encode_token(revision as i64, &start)
}

fn encode_token(rv: i64, start: &str) -> String {
    let token = Token { v: TOKEN_VERSION.into(), rv, start: start.into() };
    BASE64.encode(serde_json::to_vec(&token).expect("three plain fields"))
}

/// The place after a key, relative to the collection.
fn start(call: &Call, key: &Key) -> String {
    match call.namespace() {
        "" if call.served.resource.namespaced => format!("{}/{}\0", key.namespace, key.name),
        _ => format!("{}\0", key.name),
    }
}

/// The key before a place.
fn after(call: &Call, start: &str) -> Key {
    let start = start.strip_suffix('\0').unwrap_or(start);
    let (namespace, name) = match call.namespace() {
        "" if call.served.resource.namespaced => start.split_once('/').unwrap_or((start, "")),
        namespace => (namespace, start),
    };
    Key { resource: call.served.storage().clone(), namespace: namespace.into(), name: name.into() }
}
