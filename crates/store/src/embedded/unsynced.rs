//! What a sync that failed has not written. The system may take it for written all the same: then readers see it, the
//! next sync leaves it out, and it is gone once the power is. So it is written once more before anything is built on it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

/// Where the storage was written to since the last sync that worked: places, and how many bytes. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Unsynced(Arc<Mutex<BTreeMap<u64, usize>>>);

impl Unsynced {
    /// A storage that keeps account of what it has yet to sync.
    pub fn of(&self, storage: Box<dyn StorageBackend>) -> Accounted {
        Accounted { storage, unsynced: self.clone() }
    }

    /// Gives a storage once more what has not been synced, as it is read.
    pub fn write_again(&self, storage: &dyn StorageBackend) -> io::Result<()> {
        let places = self.places();
        let end = storage.len()?;
        for (&offset, &length) in places.iter() {
            let length = length.min(usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX));
            let mut bytes = vec![0; length];
            storage.read(offset, &mut bytes)?;
            storage.write(offset, &bytes)?;
        }
        Ok(())
    }

    fn add(&self, more: impl IntoIterator<Item = (u64, usize)>) {
        let mut places = self.places();
        for (offset, length) in more {
            let known = places.entry(offset).or_default();
            *known = length.max(*known);
        }
    }

    /// Whole after every step.
    fn places(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct Accounted {
    storage: Box<dyn StorageBackend>,
    unsynced: Unsynced,
}

impl StorageBackend for Accounted {
    fn len(&self) -> io::Result<u64> {
        self.storage.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.storage.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.storage.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        // What is written meanwhile is for the next one.
        let places = std::mem::take(&mut *self.unsynced.places());
        self.storage.sync_data().inspect_err(|_| self.unsynced.add(places))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.unsynced.add([(offset, data.len())]);
        self.storage.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.storage.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.storage.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.storage.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.storage.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.storage.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.storage.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.storage.query_lock_range(start, end)
    }
}
