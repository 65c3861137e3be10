//! The container's own view of the file system: the host's, with volumes at their mount paths.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind_recursive, mount_change, mount_remount};
use rustix::thread::UnshareFlags;

use crate::runtime::Mount;
use crate::runtime::sub_path::is_directory;

/// The list of mount points that were made on the host, one per line, beside the spec.
pub(crate) const CREATED: &str = "mountpoints";

/// Moves this process into a mount namespace of its own and mounts the volumes there. Returns the mount points that had
/// to be made on the host.
pub(super) fn enter(mounts: &[Mount]) -> Result<Vec<PathBuf>, String> {
    let mut created = Vec::new();
    if mounts.is_empty() {
        return Ok(created);
    }
    #[allow(deprecated, reason = "its flaw concerns shared file tables only; this unshares mounts")]
    rustix::thread::unshare(UnshareFlags::NEWNS).map_err(|error| format!("no mount namespace: {error}"))?;
    // What the host mounts later is seen here too; what is mounted here stays here.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|error| format!("cannot make mounts private: {error}"))?;
    let mut sorted: Vec<&Mount> = mounts.iter().collect();
    sorted.sort_by_key(|mount| mount.target.components().count());
    // All sources are opened before the first mount may hide one of them.
    let opened: Result<Vec<_>, String> = sorted.iter().map(|mount| open(mount)).collect();
    for (index, (mount, source)) in sorted.iter().zip(&opened?).enumerate() {
        let covered = sorted[..index].iter().any(|earlier| mount.target.starts_with(&earlier.target));
        let made = make_target(mount, source).map_err(|error| explain("make the mount point", &mount.target, error))?;
        if !covered {
            created.extend(made);
        }
        mount_bind_recursive(format!("/proc/self/fd/{}", source.as_raw_fd()), &mount.target)
            .map_err(|error| explain("mount", &mount.target, error.into()))?;
    }
    // Only now: a volume may hold the mount point of another.
    for mount in sorted.iter().filter(|mount| mount.read_only) {
        mount_remount(&mount.target, MountFlags::BIND | MountFlags::RDONLY, "")
            .map_err(|error| explain("make read-only", &mount.target, error.into()))?;
    }
    Ok(created)
}

fn open(mount: &Mount) -> Result<OwnedFd, String> {
    mount.open().map_err(|error| explain("open", &mount.source.join(&mount.sub_path), error))
}

/// Makes the mount point if there is none, a file for a file. Returns what was made, outermost first.
fn make_target(mount: &Mount, source: &OwnedFd) -> io::Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    if mount.target.exists() {
        return Ok(made);
    }
    let is_file = !is_directory(source)?;
    let missing: Vec<&Path> = mount.target.ancestors().take_while(|path| !path.exists()).collect();
    for path in missing.iter().rev() {
        if is_file && *path == mount.target {
            fs::File::create(path)?;
        } else {
            fs::create_dir(path)?;
        }
        made.push(path.to_path_buf());
    }
    Ok(made)
}

fn explain(what: &str, path: &Path, error: io::Error) -> String {
    format!("cannot {what} {}: {error}", path.display())
}
