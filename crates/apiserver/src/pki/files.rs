//! Certificates and keys on disk.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::{Pair, PkiError};

/// Makes a directory that only its owner may enter.
pub fn private_dir(dir: &Path) -> Result<(), PkiError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| PkiError::Write { path: dir.to_path_buf(), source })
}

/// The pair `NAME.crt` and `NAME.key`; `None` if neither is there.
pub fn load(dir: &Path, name: &str) -> Result<Option<Pair>, PkiError> {
    let (certificate, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    match (read(&certificate)?, read(&key)?) {
        (Some(certificate_pem), Some(key_pem)) => Ok(Some(Pair { certificate_pem, key_pem })),
        // The key is written first: without its certificate it was never used, and a new pair may take its place.
        (None, _) => Ok(None),
        (Some(_), None) => Err(PkiError::Broken { path: key, what: "the certificate is there, the key is not".into() }),
    }
}

pub fn store(dir: &Path, name: &str, pair: &Pair) -> Result<(), PkiError> {
    for (end, text) in [("key", &pair.key_pem), ("crt", &pair.certificate_pem)] {
        let path = dir.join(format!("{name}.{end}"));
        write_private(&path, text.as_bytes()).map_err(|source| PkiError::Write { path, source })?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::Read { path: path.to_path_buf(), source }),
    }
}

/// Writes a file that only its owner may read, whole or not at all: beside it first, synced, then renamed over it.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| io::Error::other("not the name of a file"))?;
    let temporary = parent.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // Nothing to add to the error that is returned.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    File::open(parent)?.sync_all()
}
