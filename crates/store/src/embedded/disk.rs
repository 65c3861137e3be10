//! The database file: reading everything at the start, writing one batch per transaction.
//!
//! Table `objects` maps `resource \0 namespace \0 name` to a [`record`](super::record); table `meta` holds the format
//! and the newest revision (which deletions advance too, so it cannot be had from the objects).

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend, Table, TableDefinition};

use super::record;
use super::unsynced::Unsynced;
use crate::{Entry, Event, EventKind, Key, Revision, Snapshot, State};

const OBJECTS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("objects");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const FORMAT: &str = "format";
const REVISION: &str = "revision";

/// redb's own cache. Everything is in memory already; this one only saves reading inner pages again.
const CACHE_BYTES: usize = 16 << 20;

/// Of the tables and records as written here.
const FORMAT_NOW: u64 = 1;

/// Opens the storage of the database; an empty one becomes an empty database.
pub type Opener = Box<dyn Fn() -> Result<Box<dyn StorageBackend>, DiskError> + Send>;

/// On what occasion the database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Everything will be read from it: every page must be checked.
    Start,
    /// After an I/O error. What it holds is known; nothing will be read from it.
    AfterError,
}

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("i/o error")]
    Io(#[from] std::io::Error),
    #[error("cannot open the database")]
    Open(#[from] redb::DatabaseError),
    #[error("the database refused")]
    Database(#[source] Box<redb::Error>),
    #[error("record {record} is damaged")]
    Damaged { record: String },
    #[error("the data has format {found}; this version reads {FORMAT_NOW}")]
    Format { found: u64 },
    #[error("the file is empty, although it has been written before")]
    Empty,
}

impl From<redb::Error> for DiskError {
    fn from(error: redb::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

/// The open database, or the means to open it again.
pub struct Disk {
    opener: Opener,
    unsynced: Unsynced,
    database: Option<Database>,
    /// Keys of transactions that failed: they may have reached the disk or not. Put right by the next transaction.
    doubtful: BTreeMap<Key, ()>,
    buffer: Vec<u8>,
}

impl Disk {
    /// Opens the database and reads all of it.
    pub fn open(opener: Opener) -> Result<(Self, State), DiskError> {
        let mut disk = Self {
            opener,
            unsynced: Unsynced::default(),
            database: None,
            doubtful: BTreeMap::new(),
            buffer: Vec::new(),
        };
        let database = disk.database(Opening::Start)?;
        let state = load(&database)?;
        disk.database = Some(database);
        Ok((disk, state))
    }

    fn database(&self, opening: Opening) -> Result<Database, DiskError> {
        let storage = (self.opener)()?;
        self.unsynced.write_again(&*storage)?;
        let new = storage.len()? == 0;
        let database = builder(opening).create_with_backend(self.unsynced.of(storage))?;
        if new {
            initialise(&database)?;
        }
        Ok(database)
    }

    /// Makes a batch durable. `published` is the state before it.
    ///
    /// After an error nobody may see anything of the batch: the next successful write takes back what the failed one
    /// may have left on the disk.
    pub fn write(&mut self, events: &[Arc<Event>], published: &State) -> Result<(), DiskError> {
        let result = self.try_write(events, published);
        match &result {
            Ok(()) => self.doubtful.clear(),
            Err(_) => {
                self.doubtful.extend(events.iter().map(|event| (event.entry.key.clone(), ())));
                // redb serves nothing after an I/O error until it is opened again.
                self.database = None;
            }
        }
        result
    }

    fn try_write(&mut self, events: &[Arc<Event>], published: &State) -> Result<(), DiskError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.database(Opening::AfterError)?,
        };
        let database = self.database.insert(database);
        let transaction = database.begin_write().map_err(redb::Error::from)?;
        {
            let mut objects = transaction.open_table(OBJECTS).map_err(redb::Error::from)?;
            for key in self.doubtful.keys() {
                restore(&mut objects, key, published.get(key).as_deref(), &mut self.buffer)?;
            }
            for event in events {
                let after = Some(&*event.entry).filter(|_| event.kind != EventKind::Deleted);
                restore(&mut objects, &event.entry.key, after, &mut self.buffer)?;
            }
            let mut meta = transaction.open_table(META).map_err(redb::Error::from)?;
            let revision = events.last().map_or(published.revision(), |event| event.entry.revision);
            meta.insert(REVISION, revision).map_err(redb::Error::from)?;
        }
        transaction.commit().map_err(redb::Error::from)?;
        Ok(())
    }
}

/// redb's settings for every database of ours.
pub fn builder(opening: Opening) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(opening == Opening::Start);
    builder
}

/// Writes the tables of a new database.
pub fn initialise(database: &Database) -> Result<(), DiskError> {
    let transaction = database.begin_write().map_err(redb::Error::from)?;
    {
        transaction.open_table(OBJECTS).map_err(redb::Error::from)?;
        let mut meta = transaction.open_table(META).map_err(redb::Error::from)?;
        meta.insert(FORMAT, FORMAT_NOW).map_err(redb::Error::from)?;
        meta.insert(REVISION, 0).map_err(redb::Error::from)?;
    }
    transaction.commit().map_err(redb::Error::from)?;
    Ok(())
}

/// Makes a key's record that of `entry`, or none.
fn restore(
    objects: &mut Table<'_, &'static [u8], &'static [u8]>,
    key: &Key,
    entry: Option<&Entry>,
    buffer: &mut Vec<u8>,
) -> Result<(), DiskError> {
    let place = record::place(key);
    match entry {
        Some(entry) => {
            record::encode(entry, buffer);
            objects.insert(place.as_slice(), buffer.as_slice()).map_err(redb::Error::from)?;
        }
        None => {
            objects.remove(place.as_slice()).map_err(redb::Error::from)?;
        }
    }
    Ok(())
}

fn load(database: &Database) -> Result<State, DiskError> {
    let transaction = database.begin_read().map_err(redb::Error::from)?;
    let meta = transaction.open_table(META).map_err(redb::Error::from)?;
    let format = number(&meta, FORMAT)?;
    if format != FORMAT_NOW {
        return Err(DiskError::Format { found: format });
    }
    let newest = number(&meta, REVISION)?;
    let mut state = State::at(newest);
    let objects = transaction.open_table(OBJECTS).map_err(redb::Error::from)?;
    for row in objects.iter().map_err(redb::Error::from)? {
        let (place, value) = row.map_err(redb::Error::from)?;
        let entry = read(&state, place.value(), value.value(), newest)?;
        state.insert(Arc::new(entry));
    }
    Ok(state)
}

fn read(state: &State, place: &[u8], value: &[u8], newest: Revision) -> Result<Entry, DiskError> {
    let damaged = || DiskError::Damaged { record: String::from_utf8_lossy(place).replace('\0', "/") };
    let key = record::key(place).ok_or_else(damaged)?;
    let entry = record::decode(state.intern(key), value).ok_or_else(damaged)?;
    if entry.revision > newest { Err(damaged()) } else { Ok(entry) }
}

fn number(meta: &impl ReadableTable<&'static str, u64>, name: &str) -> Result<u64, DiskError> {
    let found = meta.get(name).map_err(redb::Error::from)?;
    found.map(|number| number.value()).ok_or_else(|| DiskError::Damaged { record: name.to_string() })
}
