//! A layer becomes a directory, in the form that overlayfs takes as a lower one.
//!
//! Archives come from strangers. Every path is resolved inside the directory by the kernel, so that neither `..` nor a
//! symbolic link of the archive itself leads out of it; sizes and numbers have limits.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use thiserror::Error;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Extended attributes travel as records of this prefix.
const XATTR: &str = "SCHILY.xattr.";

/// What one layer may hold at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bytes: u64,
    pub entries: u64,
}

impl Default for Limits {
    /// Far above any image in use, far below what fills a disk unseen.
    fn default() -> Self {
        Self { bytes: 32 << 30, entries: 2_000_000 }
    }
}

#[derive(Debug, Error)]
pub enum UnpackError {
    #[error("the archive is damaged")]
    Archive(#[source] io::Error),
    #[error("the archive's {0:?} leads out of it")]
    Outside(PathBuf),
    #[error("the archive is larger than {0}")]
    TooLarge(String),
    #[error("cannot make {path:?} of the archive")]
    Make { path: PathBuf, source: io::Error },
}

/// Unpacks a tar into an existing, empty directory. Returns how many bytes its files hold.
///
/// # Errors
/// At the first entry that cannot be made; what was unpacked before stays.
pub fn unpack(archive: impl Read, into: &Path, limits: Limits) -> Result<u64, UnpackError> {
    let root = File::open(into).map_err(|source| UnpackError::Make { path: into.into(), source })?;
    let mut layer = Layer { root: root.into(), directories: Vec::new() };
    let mut archive = tar::Archive::new(archive);
    let (mut bytes, mut count) = (0, 0);
    for entry in archive.entries().map_err(UnpackError::Archive)? {
        let mut entry = entry.map_err(UnpackError::Archive)?;
        count += 1;
        bytes += entry.header().entry_size().map_err(UnpackError::Archive)?;
        if bytes > limits.bytes {
            return Err(UnpackError::TooLarge(format!("{} bytes", limits.bytes)));
        }
        if count > limits.entries {
            return Err(UnpackError::TooLarge(format!("{} entries", limits.entries)));
        }
        layer.add(&mut entry)?;
    }
    layer.finish()?;
    Ok(bytes)
}

struct Layer {
    root: OwnedFd,
    /// Their times are set last: making files in them changes them.
    directories: Vec<(PathBuf, Timestamps)>,
}

impl Layer {
    fn add<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), UnpackError> {
        let named = entry.path().map_err(UnpackError::Archive)?.into_owned();
        let path = inside(&named)?;
        let make = |source: io::Error| UnpackError::Make { path: named.clone(), source };
        let Some(name) = path.file_name().map(OsStr::to_os_string) else {
            return self.describe_root(entry).map_err(make);
        };
        let parent = self.directory(path.parent().unwrap_or(Path::new(""))).map_err(make)?;
        if name.as_bytes() == OPAQUE {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&parent));
            let flags = rustix::fs::XattrFlags::empty();
            return rustix::fs::setxattr(path, "trusted.overlay.opaque", b"y", flags).map_err(|it| make(it.into()));
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            if hidden.is_empty() || hidden == b"." || hidden == b".." {
                return Err(UnpackError::Outside(named));
            }
            remove(&parent, OsStr::from_bytes(hidden)).map_err(make)?;
            let node =
                rustix::fs::mknodat(&parent, OsStr::from_bytes(hidden), FileType::CharacterDevice, Mode::empty(), 0);
            return node.map_err(|it| make(it.into()));
        }
        self.make(&parent, &name, &path, entry, &named)
    }

    fn make<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &OsString,
        path: &Path,
        entry: &mut tar::Entry<'_, R>,
        named: &Path,
    ) -> Result<(), UnpackError> {
        let failed = |source: io::Error| UnpackError::Make { path: named.into(), source };
        let kind = entry.header().entry_type();
        let is_dir_there = || {
            let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
            stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        };
        if !(kind.is_dir() && is_dir_there()) {
            remove(parent, name).map_err(failed)?;
        }
        let mode = Mode::from_raw_mode(entry.header().mode().map_err(UnpackError::Archive)? & 0o7777);
        match kind {
            tar::EntryType::Directory => match rustix::fs::mkdirat(parent, name, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(error.into())),
            },
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(parent, name, flags, mode).map_err(|it| failed(it.into()))?;
                io::copy(entry, &mut File::from(file)).map_err(failed)?;
            }
            tar::EntryType::Symlink => {
                let target = link(entry)?;
                rustix::fs::symlinkat(target.as_path(), parent, name).map_err(|it| failed(it.into()))?;
            }
            tar::EntryType::Link => {
                let target = inside(&link(entry)?)?;
                let old = target.file_name().ok_or_else(|| UnpackError::Outside(named.into()))?;
                let from = self.directory(target.parent().unwrap_or(Path::new(""))).map_err(failed)?;
                let linked = rustix::fs::linkat(&from, old, parent, name, AtFlags::empty());
                // What it is, its first name has said.
                return linked.map_err(|it| failed(it.into()));
            }
            tar::EntryType::Char | tar::EntryType::Block | tar::EntryType::Fifo => {
                let number = |number: io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
                let (major, minor) = (entry.header().device_major(), entry.header().device_minor());
                let device = rustix::fs::makedev(number(major), number(minor));
                let kind = match kind {
                    tar::EntryType::Char => FileType::CharacterDevice,
                    tar::EntryType::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                rustix::fs::mknodat(parent, name, kind, mode, device).map_err(|it| failed(it.into()))?;
            }
            // Records about the archive itself.
            _ => return Ok(()),
        }
        self.describe(parent, name, path, entry, mode).map_err(failed)
    }

    /// Owner, mode, extended attributes and times, in an order in which none undoes another.
    fn describe<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &OsString,
        path: &Path,
        entry: &mut tar::Entry<'_, R>,
        mode: Mode,
    ) -> io::Result<()> {
        let (uid, gid) = owner(entry)?;
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        let times = times(entry)?;
        let kind = entry.header().entry_type();
        if !kind.is_symlink() {
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
            if kind.is_dir() || kind.is_file() {
                self.set_attributes(parent, name, entry)?;
            }
        }
        if kind.is_dir() {
            self.directories.push((path.to_path_buf(), times));
            return Ok(());
        }
        Ok(rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn set_attributes<R: Read>(
        &self,
        parent: &OwnedFd,
        name: &OsString,
        entry: &mut tar::Entry<'_, R>,
    ) -> io::Result<()> {
        let Some(records) = entry.pax_extensions()? else { return Ok(()) };
        let mut attributes = Vec::new();
        for record in records {
            let record = record?;
            let key = record.key().ok().and_then(|key| key.strip_prefix(XATTR));
            // Those of overlayfs mean something to the kernel, and are not the image's to set.
            attributes.extend(
                key.filter(|key| !key.starts_with("trusted."))
                    .map(|key| (key.to_string(), record.value_bytes().to_vec())),
            );
        }
        if attributes.is_empty() {
            return Ok(());
        }
        let file =
            rustix::fs::openat(parent, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        for (key, value) in attributes {
            match rustix::fs::fsetxattr(&file, key.as_str(), &value, rustix::fs::XattrFlags::empty()) {
                // Not every file system has them all.
                Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn describe_root<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
        if !entry.header().entry_type().is_dir() {
            return Ok(());
        }
        let (uid, gid) = owner(entry)?;
        rustix::fs::fchown(&self.root, Some(uid), Some(gid))?;
        Ok(rustix::fs::fchmod(&self.root, Mode::from_raw_mode(entry.header().mode()? & 0o7777))?)
    }

    /// Opens a directory of the layer, made if need be. Symbolic links are followed inside of the layer only.
    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        make_directories(&self.root, path)
    }

    fn finish(self) -> Result<(), UnpackError> {
        for (path, times) in self.directories.iter().rev() {
            // One that a later entry has replaced has times of its own.
            if let Ok(dir) = open_inside(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY) {
                let _ = rustix::fs::futimens(&dir, times);
            }
        }
        Ok(())
    }
}

/// Opens what is at a path as seen by somebody whose root directory this is.
pub fn open_inside(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    Ok(rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)?)
}

/// Opens a directory below a root, made with its parents if need be; what it is reached by stays inside.
pub fn make_directories(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    if let Ok(found) = open_inside(&root, path, flags) {
        return Ok(found);
    }
    let mut walked = PathBuf::new();
    for part in path.components().filter(|part| matches!(part, Component::Normal(_))) {
        let parent = open_inside(&root, &walked, flags)?;
        match rustix::fs::mkdirat(&parent, part.as_os_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        walked.push(part);
    }
    open_inside(&root, path, flags)
}

/// The path without `/` and `.`; one with `..` is refused.
fn inside(path: &Path) -> Result<PathBuf, UnpackError> {
    let mut inner = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inner.push(name),
            Component::ParentDir => return Err(UnpackError::Outside(path.into())),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(inner)
}

fn link<R: Read>(entry: &tar::Entry<'_, R>) -> Result<PathBuf, UnpackError> {
    let nowhere = || UnpackError::Archive(io::Error::new(io::ErrorKind::InvalidData, "a link that leads nowhere"));
    Ok(entry.link_name().map_err(UnpackError::Archive)?.ok_or_else(nowhere)?.into_owned())
}

fn owner<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<(Uid, Gid)> {
    let id =
        |id: u64| u32::try_from(id).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "an owner beyond 32 bits"));
    Ok((Uid::from_raw(id(entry.header().uid()?)?), Gid::from_raw(id(entry.header().gid()?)?)))
}

fn times<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<Timestamps> {
    let seconds = i64::try_from(entry.header().mtime()?).unwrap_or(0);
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Ok(Timestamps { last_access: time, last_modification: time })
}

/// Removes what an earlier entry has put there; directories with all they hold.
fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(parent));
            std::fs::remove_dir_all(Path::new(&path).join(name))
        }
        Err(error) => Err(error.into()),
    }
}
