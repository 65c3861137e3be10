//! The container's view of the file system: an overlay over its image, with volumes and the usual small file systems.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use backstay_node::runtime::sub_path::is_directory;
use backstay_node::runtime::{Mount, Propagation, READ_ONLY_PATHS, masked_paths};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::{VOLUMES, Words, failed, unshare};
use crate::store::{make_directories, open_inside};

/// A copy of what is mounted at a place, and further below.
const TREE: OpenTreeFlags =
    OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC).union(OpenTreeFlags::AT_RECURSIVE);
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Moves this process into the container's namespaces and root directory. `terminals`: those that its command's belongs to.
pub(super) fn enter(words: &Words, terminals: Option<&OwnedFd>) -> Result<(), String> {
    // Lowering it below our own needs a right that we may lack; then ours stays.
    let _ = fs::write("/proc/self/oom_score_adj", words.oom_score_adj.to_string());
    for (kind, path) in &words.pinned {
        let file = fs::File::open(path).map_err(failed("open", path))?;
        let kind = match kind.as_str() {
            "net" => LinkNameSpaceType::Network,
            "ipc" => LinkNameSpaceType::InterProcessCommunication,
            _ => LinkNameSpaceType::HostNameAndNISDomainName,
        };
        move_into_link_name_space(file.as_fd(), Some(kind)).map_err(failed("enter the namespace", path))?;
    }
    let own_ipc = if words.own_ipc { UnshareFlags::NEWIPC } else { UnshareFlags::empty() };
    unshare(UnshareFlags::NEWNS | UnshareFlags::NEWCGROUP | own_ipc)?;
    // While mounts still are peers of the host's.
    let sources = words.mounts.iter().map(source).collect::<Result<Vec<_>, String>>()?;
    let shm = match &words.shm {
        Some(path) => Some(tree(path)?),
        None => None,
    };
    let devices = if words.privileged { host_devices() } else { Vec::new() };
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(|error| format!("cannot make mounts private: {error}"))?;
    let root = overlay(words, &words.dir)?;
    usual(words, &root, shm, &devices)?;
    match terminals {
        Some(own) => place(&root, "/dev/pts", own)?,
        None => place(&root, "/dev/pts", &self::terminals()?)?,
    };
    if terminals.is_some() {
        target(&root, Path::new("/dev/console"), false)?;
    }
    volumes(words, &root)?;
    for (mount, tree) in words.mounts.iter().zip(sources) {
        let is_directory = is_directory(&tree).map_err(failed("look at", &mount.source))?;
        let target = target(&root, &mount.target, is_directory)?;
        attach(&tree, &target).map_err(failed("mount", &mount.target))?;
    }
    make_directories(&root, &words.working_dir).map_err(failed("make the working directory", &words.working_dir))?;
    pivot(&root)?;
    if terminals.is_some() {
        // By this name, too, it is looked for.
        rustix::mount::mount_bind("/dev/pts/0", "/dev/console").map_err(failed("mount", Path::new("/dev/console")))?;
    }
    for mount in &words.mounts {
        finish(mount)?;
    }
    restrict(words)
}

/// A copy of what is mounted at a path, to be attached elsewhere.
fn tree(path: &Path) -> Result<OwnedFd, String> {
    rustix::mount::open_tree(CWD, path, TREE).map_err(failed("open", path))
}

fn source(mount: &Mount) -> Result<OwnedFd, String> {
    if mount.propagation == Propagation::Bidirectional && !is_shared(&mount.source) {
        let path = mount.source.display();
        return Err(format!("path {path:?} is mounted on a mount that is not shared: mountPropagation Bidirectional"));
    }
    let path = mount.source.join(&mount.sub_path);
    let part = mount.open().map_err(failed("open", &path))?;
    rustix::mount::open_tree(&part, "", TREE | OpenTreeFlags::AT_EMPTY_PATH).map_err(failed("open", &mount.source))
}

/// Whether the mount that a path lies on passes mounts on.
fn is_shared(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let lines = mounts.lines().filter_map(|line| {
        let point = mount_point(line)?;
        path.starts_with(&point).then(|| (point.components().count(), line.contains(" shared:")))
    });
    // Of several at one place, the last one is on top.
    lines.fold((0, false), |best, one| if one.0 >= best.0 { one } else { best }).1
}

/// Of a line of `mountinfo`: the kernel writes spaces and their like as `\040`.
fn mount_point(line: &str) -> Option<PathBuf> {
    let mut point = Vec::new();
    let mut bytes = line.split(' ').nth(4)?.as_bytes();
    while let [first, rest @ ..] = bytes {
        let code = rest.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        let code = code.filter(|_| *first == b'\\');
        point.push(code.unwrap_or(*first));
        bytes = if code.is_some() { &rest[3..] } else { rest };
    }
    Some(std::ffi::OsString::from_vec(point).into())
}

pub(super) fn attach(tree: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", target, "", flags)
}

/// Over the image's layers; what is written to it lies in a directory.
fn overlay(words: &Words, dir: &Path) -> Result<OwnedFd, String> {
    std::env::set_current_dir(&words.layers_dir).map_err(failed("enter", &words.layers_dir))?;
    let merged = dir.join("merged");
    let place = |name: &str| escape(&dir.join(name));
    // Names relative to the working directory: the options of a mount have room for a page.
    let lower: Vec<&str> = words.layers.iter().rev().map(String::as_str).collect();
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), place("upper"), place("work"));
    let options = std::ffi::CString::new(options).map_err(|error| error.to_string())?;
    // No device of an image's own is one: there is no filter of devices behind it.
    rustix::mount::mount("overlay", &merged, "overlay", MountFlags::NODEV, Some(options.as_c_str()))
        .map_err(failed("mount an overlay at", &merged))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&merged, flags, Mode::empty()).map_err(failed("open", &merged))
}

/// The image's volumes are parts of another overlay, so that they begin with what the image has there.
fn volumes(words: &Words, root: &OwnedFd) -> Result<(), String> {
    if words.volumes.is_empty() {
        return Ok(());
    }
    let all = overlay(words, &words.dir.join(VOLUMES))?;
    for path in &words.volumes {
        let inside = make_directories(&all, path).map_err(failed("make the volume", path))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = rustix::mount::open_tree(&inside, "", flags).map_err(failed("open the volume", path))?;
        attach(&tree, &target(root, path, true)?).map_err(failed("mount the volume", path))?;
    }
    Ok(())
}

/// As overlayfs wants the signs in paths that separate its options.
fn escape(path: &Path) -> String {
    let text = path.display().to_string();
    text.chars().flat_map(|char| matches!(char, ',' | ':' | '\\').then_some('\\').into_iter().chain([char])).collect()
}

/// A new file system of a kind, to be attached.
fn new(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> Result<OwnedFd, String> {
    let made = (|| {
        let fs = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            rustix::mount::fsconfig_set_string(&fs, *key, *value)?;
        }
        rustix::mount::fsconfig_create(&fs)?;
        rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    })();
    made.map_err(|error: Errno| format!("cannot make a file system {kind}: {error}"))
}

fn place(root: &OwnedFd, path: &str, tree: &OwnedFd) -> Result<OwnedFd, String> {
    let path = Path::new(path);
    attach(tree, &target(root, path, true)?).map_err(failed("mount", path))?;
    open_inside(root, path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed("open", path))
}

fn usual(words: &Words, root: &OwnedFd, shm: Option<OwnedFd>, devices: &[Device]) -> Result<(), String> {
    let (nosuid, nodev, noexec) =
        (MountAttrFlags::MOUNT_ATTR_NOSUID, MountAttrFlags::MOUNT_ATTR_NODEV, MountAttrFlags::MOUNT_ATTR_NOEXEC);
    let closed = nosuid | nodev | noexec;
    place(root, "/proc", &new("proc", &[], closed)?)?;
    let look = if words.privileged { closed } else { closed | MountAttrFlags::MOUNT_ATTR_RDONLY };
    place(root, "/sys", &new("sysfs", &[], look)?)?;
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        place(root, "/sys/fs/cgroup", &new("cgroup2", &[], look)?)?;
    }
    let dev = place(root, "/dev", &new("tmpfs", &[("mode", "755"), ("size", "64m")], nosuid)?)?;
    for (name, major, minor) in DEVICES {
        node(&dev, Path::new(name), FileType::CharacterDevice, rustix::fs::makedev(major, minor), 0o666)?;
    }
    for device in devices {
        node(&dev, &device.name, device.kind, device.number, device.mode)?;
    }
    for (name, to) in LINKS {
        rustix::fs::symlinkat(to, &dev, name).map_err(failed("make", Path::new(name)))?;
    }
    let shm = match shm {
        Some(tree) => tree,
        None => new("tmpfs", &[("mode", "1777"), ("size", "64m")], closed)?,
    };
    place(root, "/dev/shm", &shm)?;
    place(root, "/dev/mqueue", &new("mqueue", &[], closed)?)?;
    Ok(())
}

/// A new file system of terminals.
pub(super) fn terminals() -> Result<OwnedFd, String> {
    let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    new("devpts", &options, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC)
}

struct Device {
    name: PathBuf,
    kind: FileType,
    number: rustix::fs::Dev,
    mode: u32,
}

/// What a privileged container gets besides the usual ones: every device of the host.
fn host_devices() -> Vec<Device> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/dev")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = path.symlink_metadata() else { continue };
            let Ok(name) = path.strip_prefix("/dev") else { continue };
            if metadata.is_dir() && !["pts", "shm", "mqueue"].iter().any(|own| name == Path::new(own)) {
                folders.push(path);
            } else if LINKS.iter().any(|(own, _)| name == Path::new(own)) {
                // The container's own terminals have another.
            } else if metadata.file_type().is_char_device() || metadata.file_type().is_block_device() {
                let kind = FileType::from_raw_mode(metadata.mode());
                found.push(Device { name: name.into(), kind, number: metadata.rdev(), mode: metadata.mode() & 0o777 });
            }
        }
    }
    found
}

fn node(dev: &OwnedFd, name: &Path, kind: FileType, number: rustix::fs::Dev, mode: u32) -> Result<(), String> {
    if let Some(parent) = name.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directories(dev, parent).map_err(failed("make", parent))?;
    }
    match rustix::fs::mknodat(dev, name, kind, Mode::from_raw_mode(mode), number) {
        Ok(()) => {
            rustix::fs::chmodat(dev, name, Mode::from_raw_mode(mode), AtFlags::empty()).map_err(failed("open", name))
        }
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(failed("make the device", name)(error)),
    }
}

/// The place to mount something at, made if need be. Links of the image lead around inside of it only.
fn target(root: &OwnedFd, path: &Path, directory: bool) -> Result<OwnedFd, String> {
    if let Ok(found) = open_inside(root, path, OFlags::PATH) {
        return Ok(found);
    }
    if directory {
        make_directories(root, path).map_err(failed("make", path))?;
    } else {
        let parent = make_directories(root, path.parent().unwrap_or(path)).map_err(failed("make", path))?;
        let name = path.file_name().unwrap_or_default();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)).map_err(failed("make", path))?;
    }
    open_inside(root, path, OFlags::PATH).map_err(failed("open", path))
}

pub(super) fn pivot(root: &OwnedFd) -> Result<(), String> {
    let changed = rustix::process::fchdir(root)
        .and_then(|()| rustix::process::pivot_root(".", "."))
        .and_then(|()| rustix::mount::unmount(".", UnmountFlags::DETACH))
        .and_then(|()| rustix::process::chdir("/"));
    changed.map_err(|error| format!("cannot change the root directory: {error}"))
}

/// Whom a mount passes mounts on to, and whether it may be written.
fn finish(mount: &Mount) -> Result<(), String> {
    let path = &mount.target;
    let kind = match mount.propagation {
        Propagation::None => Some(MountPropagationFlags::PRIVATE),
        Propagation::HostToContainer => Some(MountPropagationFlags::DOWNSTREAM),
        Propagation::Bidirectional => None,
    };
    if let Some(kind) = kind {
        rustix::mount::mount_change(path, kind | MountPropagationFlags::REC)
            .map_err(failed("restrict the mount", path))?;
    }
    if mount.read_only { read_only(path).map_err(failed("make read-only", path)) } else { Ok(()) }
}

fn read_only(path: &Path) -> Result<(), Errno> {
    let stat = rustix::fs::statvfs(path)?;
    // The others stay as they are.
    let kept = [
        (rustix::fs::StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (rustix::fs::StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (rustix::fs::StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ];
    let flags = kept.into_iter().filter(|(seen, _)| stat.f_flag.contains(*seen)).map(|(_, flag)| flag);
    let flags = flags.fold(MountFlags::BIND | MountFlags::RDONLY, |all, one| all | one);
    rustix::mount::mount_remount(path, flags, c"")
}

/// Hides and locks what is not for containers; all of it is inside of the new root already.
fn restrict(words: &Words) -> Result<(), String> {
    if !words.privileged && !words.unmasked_proc {
        for path in READ_ONLY_PATHS.map(Path::new).into_iter().filter(|path| path.exists()) {
            rustix::mount::mount_bind_recursive(path, path)
                .and_then(|()| read_only(path))
                .map_err(failed("make read-only", path))?;
        }
        hide(&masked_paths())?;
    }
    if words.read_only_root {
        read_only(Path::new("/")).map_err(failed("make read-only", Path::new("/")))?;
    }
    Ok(())
}

/// Directories become one empty one: a machine with many processors has many to hide.
fn hide(paths: &[PathBuf]) -> Result<(), String> {
    let mut empty: Option<&Path> = None;
    for path in paths.iter().filter(|path| path.exists()) {
        let hidden = match empty {
            _ if !path.is_dir() => rustix::mount::mount_bind("/dev/null", path),
            Some(empty) => rustix::mount::mount_bind(empty, path),
            None => rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::RDONLY, c"size=0k"),
        };
        hidden.map_err(failed("hide", path))?;
        empty = empty.or(path.is_dir().then_some(path));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_may_have_any_name() {
        for (written, expected) in [
            ("/a/b", "/a/b"),
            (r"/a\040b\134c", r"/a b\c"),
            (r"/\303\244", "/\u{e4}"),
            (r"/x\9", r"/x\9"),
            (r"/\01", r"/\01"),
        ] {
            let line = format!("36 35 98:0 / {written} rw shared:1 - ext4 /dev/x rw");
            assert_eq!(mount_point(&line), Some(expected.into()), "{written}");
        }
        assert_eq!(mount_point("36 35"), None);
    }
}
