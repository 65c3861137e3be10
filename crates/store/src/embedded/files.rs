//! The files of a data directory: `store.redb`, and `store.lock`, which the running process holds.
//!
//! The lock is a file of its own because the database is closed for a moment after an I/O error.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::OpenError;
use super::disk::{self, DiskError, Opening};

/// Secrets are in the file.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// A locked data directory.
pub struct Files {
    directory: PathBuf,
    /// Held until this is dropped.
    _lock: File,
}

impl Files {
    /// Makes the directory and the data file if they are not there, and locks them.
    pub fn prepare(directory: &Path) -> Result<Self, OpenError> {
        let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory);
        made.map_err(|source| OpenError::CreateDirectory { path: directory.into(), source })?;
        let files = Self { directory: directory.into(), _lock: lock(directory)? };
        let path = files.data_path();
        if !path.exists() {
            files.create().map_err(|source| OpenError::Create { path, source })?;
        }
        Ok(files)
    }

    pub fn data_path(&self) -> PathBuf {
        self.directory.join("store.redb")
    }

    /// Opens the existing data file.
    pub fn open(&self) -> Result<Box<dyn StorageBackend>, DiskError> {
        let file = OpenOptions::new().read(true).write(true).open(self.data_path())?;
        if file.metadata()?.len() == 0 {
            return Err(DiskError::Empty);
        }
        Ok(Box::new(FileBackend::new(file)?))
    }

    /// Writes a complete file under another name first: a file that has the right name is never half made.
    fn create(&self) -> Result<(), DiskError> {
        let draft = self.directory.join("store.redb.new");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(FILE_MODE).open(&draft)?;
        let database = disk::builder(Opening::AfterError).create(&draft)?;
        disk::initialise(&database)?;
        database.close()?;
        File::open(&draft)?.sync_all()?;
        std::fs::rename(&draft, self.data_path())?;
        // The names are durable only once the directories that hold them are.
        File::open(&self.directory)?.sync_all()?;
        if let Some(parent) = self.directory.canonicalize()?.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("store.lock");
    let failed = |source| OpenError::Lock { path: path.clone(), source };
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
            writeln!(file, "pid {}", std::process::id()).map_err(failed)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message; it may be empty if the other process has just started.
            let _ = file.read_to_string(&mut holder);
            Err(OpenError::InUse { path: directory.into(), holder: holder.trim().into() })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
