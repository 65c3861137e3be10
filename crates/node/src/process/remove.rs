//! Removes files of pods; what is gone already is as well.

use std::io;
use std::path::Path;

use super::runtime::io_error;
use crate::runtime::RuntimeError;

pub(super) fn remove_dir(path: &Path) -> Result<(), RuntimeError> {
    let mut removed = std::fs::remove_dir_all(path);
    // A supervisor that is about to end may leave its last words meanwhile; there are not many.
    for _ in 0..5 {
        if removed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::DirectoryNotEmpty) {
            removed = std::fs::remove_dir_all(path);
        }
    }
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(io_error("remove", path)),
    }
}

pub(super) fn remove_file(path: &Path) -> Result<(), RuntimeError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(io_error("remove", path)),
    }
}
