//! Volumes on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use crate::pod_inputs::volumes::{File, Volume};
use crate::process::layout::SUB_PATHS;
use crate::runtime::{is_mounted, sub_path::unpin};

/// Brings a volume into being, or up to date. Returns where it lies.
///
/// # Errors
/// In words fit for a `FailedMount` event.
pub(super) fn put(dir: &Path, volume: &Volume, fs_group: Option<u32>) -> Result<PathBuf, String> {
    let explain = |error: io::Error| format!("{}: {error}", dir.display());
    match volume {
        Volume::Host { path, kind } => host_path(path, kind).map(|()| path.clone()),
        Volume::Empty { memory } => {
            if !dir.exists() {
                fs::create_dir_all(dir).map_err(explain)?;
                // Anybody may write: the container may run as anybody.
                fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).map_err(explain)?;
            }
            // Also one that was there: the machine may have been switched off since.
            if let Some(limit) = memory.filter(|_| !is_mounted(dir)) {
                mount_memory(dir, limit)?;
            }
            if let Some(group) = fs_group {
                give_to(dir, group, 0o2777).map_err(explain)?;
            }
            Ok(dir.to_path_buf())
        }
        Volume::Files(files) => write_files(dir, files, fs_group).map(|()| dir.to_path_buf()).map_err(explain),
    }
}

/// Unmounts what [`put`] has mounted below this directory, and the runtime beside it, so that they can be removed.
pub(super) fn release(volumes: &Path) {
    let entries = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let pinned = entries(volumes.with_file_name(SUB_PATHS)).flat_map(entries);
    pinned.chain(entries(volumes.to_path_buf())).for_each(|path| unpin(&path));
}

/// Without root it stays an ordinary directory.
fn mount_memory(dir: &Path, limit: Option<u64>) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let options = limit.map_or_else(|| "mode=0777".to_string(), |bytes| format!("mode=0777,size={bytes}"));
    let options = std::ffi::CString::new(options).map_err(|error| error.to_string())?;
    rustix::mount::mount("tmpfs", dir, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
        .map_err(|error| format!("cannot mount memory at {}: {error}", dir.display()))
}

fn host_path(path: &Path, kind: &str) -> Result<(), String> {
    let shown = path.display();
    let explain = |error: io::Error| format!("{shown}: {error}");
    let found = fs::metadata(path).ok();
    let is = |wanted: fn(&fs::Metadata) -> bool, what: &str| match &found {
        Some(metadata) if wanted(metadata) => Ok(()),
        _ => Err(format!("hostPath type check failed: {shown} is not a {what}")),
    };
    match kind {
        // No check; what is not there is made, since there must be something to mount.
        "" | "DirectoryOrCreate" if found.is_none() => fs::create_dir_all(path).map_err(explain),
        "" => Ok(()),
        "Directory" | "DirectoryOrCreate" => is(fs::Metadata::is_dir, "directory"),
        "FileOrCreate" if found.is_none() => fs::File::create(path).map(drop).map_err(explain),
        "File" | "FileOrCreate" => is(fs::Metadata::is_file, "file"),
        "Socket" => is(|it| it.file_type().is_socket(), "socket file"),
        "CharDevice" => is(|it| it.file_type().is_char_device(), "character device"),
        "BlockDevice" => is(|it| it.file_type().is_block_device(), "block device"),
        other => Err(format!("hostPath type {other:?} is not known")),
    }
}

/// Writes files so that readers see the old set or the new one, never a mixture: they lie in a directory of their own,
/// `..data` points to it, and the visible names point through `..data`. Nothing is touched if nothing changed.
///
/// Where the pod's volumes belong to a group, its members may read them.
fn write_files(dir: &Path, files: &BTreeMap<String, File>, fs_group: Option<u32>) -> io::Result<()> {
    let data = dir.join("..data");
    let mode = |file: &File| if fs_group.is_some() { file.mode | 0o440 } else { file.mode };
    if !holds(&data, files, mode) {
        fs::create_dir_all(dir)?;
        let number = names(dir)?.iter().filter_map(|name| name.strip_prefix("..set-")?.parse::<u64>().ok()).max();
        let set = format!("..set-{}", number.map_or(0, |number| number + 1));
        if let Err(error) = write_set(&dir.join(&set), files, fs_group, mode) {
            // The disk may be full, and another attempt will make another one.
            let _ = fs::remove_dir_all(dir.join(&set));
            return Err(error);
        }
        let next = dir.join("..data_tmp");
        let _ = fs::remove_file(&next);
        symlink(&set, &next)?;
        fs::rename(&next, &data)?;
    }
    // Also where nothing has changed: this may have been interrupted.
    let set = fs::read_link(&data)?;
    let tops: BTreeSet<&str> = files.keys().map(|path| path.split('/').next().unwrap_or(path)).collect();
    for top in &tops {
        if !dir.join(top).is_symlink() {
            symlink(Path::new("..data").join(top), dir.join(top))?;
        }
    }
    for name in names(dir)? {
        let path = dir.join(&name);
        if name.starts_with("..set-") && Path::new(&name) != set {
            fs::remove_dir_all(path)?;
        } else if !name.starts_with("..") && !tops.contains(name.as_str()) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn write_set(
    set: &Path,
    files: &BTreeMap<String, File>,
    fs_group: Option<u32>,
    mode: impl Fn(&File) -> u32,
) -> io::Result<()> {
    fs::create_dir_all(set)?;
    for (path, file) in files {
        let path = set.join(path);
        fs::create_dir_all(path.parent().unwrap_or(set))?;
        fs::write(&path, &file.content)?;
        match fs_group {
            Some(group) => give_to(&path, group, mode(file))?,
            None => fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?,
        }
    }
    Ok(())
}

/// Only root can give things away; without it the agent's own group stays.
fn give_to(path: &Path, group: u32, mode: u32) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, None, Some(group))?;
    }
    // After the owner, whose change takes the set-group-id bit away.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn holds(data: &Path, files: &BTreeMap<String, File>, wanted: impl Fn(&File) -> u32) -> bool {
    data.exists()
        && count(data) == files.len()
        && files.iter().all(|(path, file)| {
            let path = data.join(path);
            let mode = fs::metadata(&path).map(|it| it.permissions().mode() & 0o777).ok();
            mode == Some(wanted(file)) && fs::read(&path).is_ok_and(|content| content == file.content)
        })
}

fn count(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(dir)?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(entries: &[(&str, &str)]) -> Volume {
        let file = |content: &str| File { content: content.as_bytes().to_vec(), mode: 0o640 };
        Volume::Files(entries.iter().map(|(path, content)| (path.to_string(), file(content))).collect())
    }

    #[test]
    fn files_change_as_one() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("v");
        put(&dir, &files(&[("a", "1"), ("deep/b", "2")]), None).unwrap();
        let read = |path: &str| fs::read_to_string(dir.join(path)).unwrap_or_default();
        assert_eq!((read("a"), read("deep/b")), ("1".into(), "2".into()));
        let first = fs::read_link(dir.join("..data")).unwrap();
        put(&dir, &files(&[("a", "1"), ("deep/b", "2")]), None).unwrap();
        assert_eq!(fs::read_link(dir.join("..data")).unwrap(), first, "nothing changed, nothing written");
        put(&dir, &files(&[("a", "3")]), None).unwrap();
        assert_eq!((read("a"), read("deep/b")), ("3".into(), String::new()));
        let mut left = names(&dir).unwrap();
        left.sort();
        assert_eq!(left, ["..data", "..set-1", "a"]);
        // Nothing is left of a set that cannot be written, and the old one stays.
        for _ in 0..2 {
            put(&dir, &files(&[("a", "4"), ("a/b", "5")]), None).unwrap_err();
            assert_eq!((read("a"), names(&dir).unwrap().len()), ("3".into(), 3));
        }
        put(&dir, &files(&[]), None).unwrap();
        assert_eq!(names(&dir).unwrap().len(), 2, "an empty volume is a volume");
    }

    /// The agent was killed, or the disk was full, right after the new set had taken its place.
    #[test]
    fn what_was_interrupted_is_finished() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("v");
        let volume = files(&[("a", "1"), ("deep/b", "2")]);
        put(&dir, &volume, None).unwrap();
        fs::remove_file(dir.join("a")).unwrap();
        fs::create_dir(dir.join("..set-7")).unwrap();
        symlink("..data/gone", dir.join("gone")).unwrap();
        put(&dir, &volume, None).unwrap();
        let mut left = names(&dir).unwrap();
        left.sort();
        assert_eq!(left, ["..data", "..set-0", "a", "deep"]);
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "1");
    }

    #[test]
    fn volumes_of_a_group() {
        let temporary = tempfile::tempdir().unwrap();
        let seen = |dir: &Path| {
            let it = fs::metadata(dir).unwrap();
            (it.permissions().mode() & 0o7777, std::os::unix::fs::MetadataExt::gid(&it))
        };
        let own = seen(temporary.path()).1;
        let gid = if rustix::process::geteuid().is_root() { 77 } else { own };
        let empty = put(&temporary.path().join("e"), &Volume::Empty { memory: None }, Some(77)).unwrap();
        assert_eq!(seen(&empty), (0o2777, gid));
        let mut volume = files(&[("a", "1")]);
        if let Volume::Files(files) = &mut volume {
            files.get_mut("a").unwrap().mode = 0o400;
        }
        let dir = put(&temporary.path().join("f"), &volume, Some(77)).unwrap();
        assert_eq!(seen(&dir.join("a")), (0o440, gid));
        let first = fs::read_link(dir.join("..data")).unwrap();
        put(&dir, &volume, Some(77)).unwrap();
        assert_eq!(fs::read_link(dir.join("..data")).unwrap(), first, "nothing changed, nothing written");
    }

    #[test]
    fn host_paths_are_checked() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("x");
        let host =
            |kind: &str| put(Path::new("/unused"), &Volume::Host { path: path.clone(), kind: kind.into() }, None);
        assert!(host("Directory").unwrap_err().contains("is not a directory"));
        assert_eq!(host("FileOrCreate").unwrap(), path);
        assert!(path.is_file() && host("File").is_ok() && host("Socket").is_err() && host("").is_ok());
        assert!(host("DirectoryOrCreate").is_err());
    }
}
