//! The Store port and the values that cross it.
//!
//! One global revision counts commits. A commit creates, updates or deletes exactly one key, if the key is still as
//! the caller saw it, and returns once it is durable; nobody sees a write before that. Bytes are shared, never copied
//! per reader.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use backstay_api::Index;
use bytes::Bytes;

use crate::splice::splice;

/// A commit's number; also the `resourceVersion` of the object it wrote. The first commit is 1; 0 is "before all".
pub type Revision = u64;

/// Where an object is kept. Ordered by resource, then namespace (cluster-scoped objects: `""`), then name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// `Resource::storage`: `apps/daemonsets`, `pods`.
    pub resource: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Key {
    /// The key of an object; `namespace` is `""` for cluster-scoped ones.
    pub fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }
}

/// An object's final JSON but for its `resourceVersion`, which is known only when it is committed.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// JSON up to the place where the digits of the resource version belong (the opening quote included).
    pub head: Bytes,
    /// JSON from there on (beginning with the closing quote).
    pub tail: Bytes,
    pub index: Arc<Index>,
}

impl Encoded {
    /// The final JSON of the object if it were committed at `revision`.
    pub fn at(&self, revision: Revision) -> Bytes {
        splice(self, revision)
    }
}

/// One object as committed.
#[derive(Debug)]
pub struct Entry {
    pub key: Key,
    /// The commit that wrote this state.
    pub revision: Revision,
    /// Final JSON, `metadata.resourceVersion` included; what GET, LIST and every watcher send.
    pub value: Bytes,
    pub index: Arc<Index>,
    /// Filled by the first who asks for [`Entry::messages`].
    pub messages: OnceLock<Box<Messages>>,
}

impl Entry {
    /// The value of a field of its index; empty if it has none.
    pub fn field(&self, name: &str) -> &str {
        self.index.fields.get(name).unwrap_or_default()
    }

    /// Its protobuf forms, as far as somebody has made them.
    pub fn messages(&self) -> &Messages {
        self.messages.get_or_init(Box::default)
    }
}

/// An object's protobuf forms, each made by the first who needs it and kept as long as the entry.
#[derive(Debug, Default)]
pub struct Messages {
    /// The object; never filled for custom resources, which have no such form.
    pub whole: OnceLock<Bytes>,
    /// Its metadata alone.
    pub metadata: OnceLock<Bytes>,
}

/// What a commit does. `expected` is the revision of the entry that the decision was based on.
#[derive(Clone, Debug)]
pub enum Operation {
    Create {
        value: Encoded,
    },
    Update {
        value: Encoded,
        expected: Revision,
    },
    /// `last` is the object's last state; it is sent to watchers with the revision of the deletion.
    Delete {
        last: Encoded,
        expected: Revision,
    },
}

/// A change, as watchers see it.
#[derive(Debug)]
pub struct Event {
    pub kind: EventKind,
    /// The new state; for `Deleted` the last state, with the revision of the deletion.
    pub entry: Arc<Entry>,
    /// The state before; `None` for `Added`.
    pub previous: Option<Arc<Entry>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// Which objects: all of a resource, or only those of one namespace, of one name, or with one value in a field. Whatever
/// is asked for by name or field costs what it finds, and not what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub resource: Arc<str>,
    pub namespace: Option<Arc<str>>,
    pub name: Option<Arc<str>>,
    pub field: Option<Field>,
}

/// A value that a field of the index has. A field that an object does not have is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: Arc<str>,
    pub value: Arc<str>,
}

impl Range {
    /// Everything of a resource.
    pub fn all(resource: &str) -> Self {
        Self { resource: resource.into(), namespace: None, name: None, field: None }
    }

    /// Everything of a resource in one namespace.
    pub fn within(resource: &str, namespace: &str) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::all(resource) }
    }

    /// One key.
    pub fn one(key: &Key) -> Self {
        let (namespace, name) = (Some(key.namespace.clone()), Some(key.name.clone()));
        Self { resource: key.resource.clone(), namespace, name, field: None }
    }

    /// The part of it that has this value in this field.
    pub fn with_field(self, name: &str, value: &str) -> Self {
        Self { field: Some(Field { name: name.into(), value: value.into() }), ..self }
    }

    /// Whether an object belongs to it.
    pub fn holds(&self, entry: &Entry) -> bool {
        let has = |field: &Field| entry.field(&field.name) == &*field.value;
        self.contains(&entry.key) && self.field.as_ref().is_none_or(has)
    }

    /// Whether an event is about an object that belongs to it, or did before.
    pub fn sees(&self, event: &Event) -> bool {
        self.holds(&event.entry) || event.previous.as_ref().is_some_and(|entry| self.holds(entry))
    }

    /// Whether objects with this key may belong to it.
    pub fn contains(&self, key: &Key) -> bool {
        self.resource == key.resource
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
            && self.name.as_ref().is_none_or(|name| *name == key.name)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Create of a key that exists.
    #[error("{key:?} exists already, at revision {}", .current.revision)]
    Exists { key: Key, current: Arc<Entry> },
    /// Update or delete of a key whose entry has another revision than expected.
    #[error("{key:?} is at revision {}, not at the expected one", .current.revision)]
    Conflict { key: Key, current: Arc<Entry> },
    /// Update or delete of a key that is gone.
    #[error("{key:?} does not exist")]
    NotFound { key: Key },
    /// [`Store::commit_beside`]: another server has written an object of this resource. Look again.
    #[error("another server has written to {resource} meanwhile")]
    Overtaken { resource: Arc<str> },
    /// The revision is no longer kept; list again.
    #[error("revision {asked} is compacted; the oldest kept is {oldest}")]
    Compacted { asked: Revision, oldest: Revision },
    /// A revision that no commit has reached yet.
    #[error("revision {asked} is in the future; the newest is {newest}")]
    Future { asked: Revision, newest: Revision },
    /// The object is larger than the engine takes. Nothing was written.
    #[error("the object is too large: {reason}")]
    TooLarge { reason: String },
    /// The engine cannot write or read: disk full, I/O error, peer gone. Nothing was acknowledged.
    #[error("store unavailable: {reason}")]
    Unavailable { reason: String },
    /// The answer of the engine was lost, so that the operation has perhaps been carried out, or still will be.
    #[error("it is not known whether this was done: {reason}")]
    Uncertain { reason: String },
}

/// An immutable view of everything at one revision. Cheap to make and to keep.
pub trait Snapshot: Send + Sync {
    fn revision(&self) -> Revision;

    /// Whether it holds everything, and not one range only. What is kept answers other lists as well.
    fn is_whole(&self) -> bool {
        true
    }

    fn get(&self, key: &Key) -> Option<Arc<Entry>>;

    /// Up to `limit` entries of the range in key order (0: all), beginning after `after`.
    fn list(&self, range: &Range, after: Option<&Key>, limit: usize) -> Vec<Arc<Entry>> {
        self.select(range, after, limit, &|_| true)
    }

    /// As [`Self::list`], of those entries alone that are wanted.
    fn select(
        &self,
        range: &Range,
        after: Option<&Key>,
        limit: usize,
        is_wanted: &dyn Fn(&Entry) -> bool,
    ) -> Vec<Arc<Entry>>;

    /// How many entries the range holds.
    fn count(&self, range: &Range) -> usize;

    /// How many of them come after `after`.
    fn count_after(&self, range: &Range, after: &Key) -> usize;
}

/// A running watch. Dropping it ends it; it costs one cursor into a shared log.
#[async_trait]
pub trait Watch: Send {
    /// The next event of the range, in commit order, none left out and none twice. Pends while there is none.
    ///
    /// # Errors
    /// `Compacted` if this watcher fell so far behind that its place is no longer kept. `Unavailable` if the engine
    /// has stopped.
    async fn next(&mut self) -> Result<Arc<Event>, StoreError>;

    /// The next event if it is there already.
    fn try_next(&mut self) -> Result<Option<Arc<Event>>, StoreError>;

    /// All events up to this revision have been returned (or did not concern the range): what a bookmark may say.
    fn progress(&self) -> Revision;
}

/// What every engine offers.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Carries out one operation. Durable once it returns; visible to readers and watchers only then.
    /// Returns the entry as committed (for a delete: the last state, with the revision of the deletion).
    async fn commit(&self, key: Key, operation: Operation) -> Result<Arc<Entry>, StoreError>;

    /// As [`Store::commit`], unless another server has written an object of this resource after `seen`: what is
    /// committed must go with all the others, as the caller has seen them then. Within one server callers keep each
    /// other out; engines with one server need not look.
    ///
    /// # Errors
    /// `Overtaken`; then a snapshot holds what was written.
    async fn commit_beside(&self, key: Key, operation: Operation, _seen: Revision) -> Result<Arc<Entry>, StoreError> {
        self.commit(key, operation).await
    }

    /// The newest state. A later call never returns an older one, and every acknowledged commit is in it.
    fn snapshot(&self) -> Arc<dyn Snapshot>;

    /// Whether other servers may write to it too, so that a snapshot may lack what they have been told is done.
    fn is_shared(&self) -> bool {
        false
    }

    /// Waits until [`Store::snapshot`] holds everything that any server had acknowledged when this was called.
    async fn catch_up(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The newest state as seen by all servers of this store; engines with one server answer with [`Store::snapshot`].
    async fn consistent_snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError> {
        Ok(self.snapshot())
    }

    /// The state at an older revision, if a snapshot of it was kept by [`Store::keep`].
    fn snapshot_at(&self, revision: Revision) -> Result<Arc<dyn Snapshot>, StoreError>;

    /// Keeps a snapshot for later pages of a list. Engines keep a bounded number, the newest.
    fn keep(&self, snapshot: Arc<dyn Snapshot>);

    /// Events after `from`.
    ///
    /// # Errors
    /// `Compacted` if events after `from` are no longer kept, `Future` if `from` is newer than the newest commit.
    fn watch(&self, range: Range, from: Revision) -> Result<Box<dyn Watch>, StoreError>;

    /// The oldest revision from which a watch can start.
    fn oldest(&self) -> Revision;

    /// Forgets events up to `revision` (clamped to the newest).
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// Ends the engine in order: later commits fail with `Unavailable`, all acknowledged ones are on disk.
    async fn close(&self);
}
