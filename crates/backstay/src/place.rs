//! The place of a machine's one agent: a lock in its data directory.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Held for as long as it lives. What was made for it is taken back when it is given up before [`Place::keep`]: an agent
/// that refuses to start leaves nothing behind.
#[derive(Debug)]
pub struct Place {
    // Closed, and so unlocked, after `drop` has run.
    _lock: File,
    /// Files and directories, innermost first.
    made: Vec<PathBuf>,
}

impl Place {
    /// Takes the place, and makes the directory where there is none.
    ///
    /// # Errors
    /// There is an agent already: two would end each other's pods.
    pub fn take(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join("lock");
        let mut made: Vec<PathBuf> =
            data_dir.ancestors().take_while(|dir| !dir.exists()).map(Path::to_path_buf).collect();
        loop {
            if !path.exists() {
                made.insert(0, path.clone());
            }
            let lock = open(&path).with_context(|| format!("cannot use {}", path.display()))?;
            match lock.try_lock() {
                // Another may just have given up its own, so that we hold what nobody finds any more.
                Ok(()) if !is_at(&lock, &path) => {}
                Ok(()) => return Ok(Self { _lock: lock, made }),
                Err(TryLockError::WouldBlock) => bail!(
                    "another agent runs with {}: stop it first, or give this one a --data-dir of its own",
                    data_dir.display()
                ),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
            made.retain(|it| *it != path);
        }
    }

    /// From now on there is something to keep here.
    pub fn keep(&mut self) {
        self.made.clear();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for path in &self.made {
            // Directories in which there is something else by now stay.
            let removed = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
            if removed.is_err() {
                return;
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    File::options().create(true).truncate(false).write(true).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(found)) = (file.metadata(), fs::metadata(path)) else { return false };
    (held.dev(), held.ino()) == (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_goes_unless_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("some/where");
        let there = |name: &str| dir.path().join(name).exists();
        drop(Place::take(&place).unwrap());
        assert!(!there("some"));

        fs::create_dir(dir.path().join("some")).unwrap();
        drop(Place::take(&place).unwrap());
        assert!(there("some") && !there("some/where"));

        let held = Place::take(&place).unwrap();
        fs::write(place.join("other"), "").unwrap();
        drop(held);
        assert!(there("some/where/other") && !there("some/where/lock"));

        let mut held = Place::take(&place).unwrap();
        held.keep();
        drop(held);
        assert!(there("some/where/lock"));
        drop(Place::take(&place).unwrap());
        assert!(there("some/where/lock"), "it was there before");
    }

    #[test]
    fn there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let held = Place::take(dir.path()).unwrap();
        let refused = Place::take(dir.path()).unwrap_err().to_string();
        assert!(refused.starts_with("another agent runs with "), "{refused}");
        assert!(dir.path().join("lock").exists(), "it is the other one's");
        drop(held);
        Place::take(dir.path()).unwrap();
    }

    #[test]
    fn a_lock_that_nobody_finds_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lost = open(&path).unwrap();
        assert!(is_at(&lost, &path));
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&lost, &path));
        let new = open(&path).unwrap();
        assert!(is_at(&new, &path) && !is_at(&lost, &path));
    }
}
