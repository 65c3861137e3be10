//! The part of a volume that a container sees (`subPath`): found without leaving the volume, wherever links lead that
//! other containers have laid in it, also while it is looked for.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use super::{Mount, Propagation};

/// The kernel gives up where something is renamed just then; whoever does nothing but rename holds only himself up.
const TRIES: u32 = 100;

impl Mount {
    /// What is to be mounted, held fast: whatever is done to its path afterwards.
    ///
    /// # Errors
    /// It is not there, or not inside of the volume.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let volume = rustix::fs::openat(CWD, &self.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        if self.sub_path.as_os_str().is_empty() { Ok(volume) } else { below(&volume, &self.sub_path) }
    }

    /// Makes what is missing of the way, as directories with the rights of the volume's own.
    ///
    /// # Errors
    /// It leads out of the volume, or to something that is no directory.
    pub fn make_sub_path(&self) -> io::Result<()> {
        let volume = rustix::fs::openat(CWD, &self.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&volume)?.st_mode & 0o7777);
        let mut way = Path::new(".").to_path_buf();
        for part in self.sub_path.components() {
            let Component::Normal(name) = part else { continue };
            let parent = below(&volume, &way)?;
            way.push(name);
            match below(&volume, &way) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => make_directory(&parent, name, mode)?,
                found => drop(found?),
            }
        }
        Ok(())
    }

    /// Mounts it at a path of the node's own, for a runtime that can only be told paths. What is mounted there from an
    /// earlier time gives way. What other file systems hold that are mounted further below is not seen.
    ///
    /// # Errors
    /// Those of [`Self::open`], and of mounting.
    pub fn pin(&self, at: &Path) -> io::Result<()> {
        let part = self.open()?;
        unpin(at);
        let _ = fs::remove_file(at).or_else(|_| fs::remove_dir(at));
        if is_directory(&part)? {
            fs::create_dir_all(at)?;
        } else {
            fs::create_dir_all(at.parent().unwrap_or(at))?;
            fs::File::create(at)?;
        }
        rustix::mount::mount_bind(format!("/proc/self/fd/{}", part.as_raw_fd()), at)?;
        if self.propagation != Propagation::Bidirectional {
            // Else what is unmounted with it would be unmounted where it comes from.
            rustix::mount::mount_change(at, MountPropagationFlags::DOWNSTREAM)?;
        }
        Ok(())
    }
}

/// Takes away all that is mounted at this path.
pub fn unpin(at: &Path) {
    // Fails once nothing is.
    while rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
}

/// # Errors
/// It cannot be looked at.
pub fn is_directory(file: &impl AsFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode) == FileType::Directory)
}

fn below(volume: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..TRIES {
        match rustix::fs::openat2(volume, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            Err(Errno::XDEV) => return Err(io::Error::other("it leads out of the volume")),
            opened => return Ok(opened?),
        }
    }
    Err(io::Error::other("it changes all the time"))
}

fn make_directory(parent: &OwnedFd, name: &OsStr, mode: Mode) -> io::Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        // Somebody else has made it meanwhile; unless it is a link to nowhere, which then shows.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    Ok(rustix::fs::fchmod(&made, mode)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    /// A volume with a directory, a file, and links; beside it, what must not be reached.
    fn world() -> tempfile::TempDir {
        let world = tempfile::tempdir().unwrap();
        let volume = world.path().join("volume");
        fs::create_dir_all(volume.join("dir/deep")).unwrap();
        fs::write(volume.join("dir/file"), "inside").unwrap();
        fs::create_dir(world.path().join("secret")).unwrap();
        fs::write(world.path().join("secret/file"), "outside").unwrap();
        symlink("dir/deep/../file", volume.join("inner")).unwrap();
        symlink("../secret", volume.join("up")).unwrap();
        symlink(world.path().join("secret"), volume.join("absolute")).unwrap();
        symlink("../../../../../../../..", volume.join("dir/root")).unwrap();
        symlink("nowhere", volume.join("dangling")).unwrap();
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o773)).unwrap();
        world
    }

    fn mount(world: &Path, sub_path: &str) -> Mount {
        Mount { source: world.join("volume"), sub_path: sub_path.into(), ..Mount::default() }
    }

    #[test]
    fn nothing_leads_out_of_a_volume() {
        let world = world();
        let check = |sub_path: &str, expected: Result<&str, &str>| {
            let mount = mount(world.path(), sub_path);
            let seen = mount.make_sub_path().and_then(|()| {
                let part = mount.open()?;
                let path = fs::read_link(format!("/proc/self/fd/{}", part.as_raw_fd()))?;
                Ok(path.strip_prefix(world.path().canonicalize()?).unwrap().display().to_string())
            });
            let seen = seen.map_err(|error| error.to_string());
            assert_eq!(seen.as_deref(), expected.map_err(str::to_string).as_deref(), "{sub_path}");
        };
        check("", Ok("volume"));
        check("dir/./deep", Ok("volume/dir/deep"));
        check("inner", Ok("volume/dir/file"));
        check("new/and/deep", Ok("volume/new/and/deep"));
        let out = Err("it leads out of the volume");
        for sub_path in ["up", "up/file", "up/new", "absolute", "absolute/new", "dir/root/etc", "dir/root"] {
            check(sub_path, out);
        }
        check("dir/file/x", Err("Not a directory (os error 20)"));
        check("dangling/x", Err("Not a directory (os error 20)"));
        assert!(!world.path().join("secret/new").exists() && !world.path().join("volume/nowhere").exists());
        let made = fs::metadata(world.path().join("volume/new/and/deep")).unwrap();
        assert_eq!(made.permissions().mode() & 0o7777, 0o773, "whoever may write to the volume may write here");
    }

    #[test]
    fn a_pin_holds_what_was_there() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("SKIPPED a_pin_holds_what_was_there: only root mounts");
        }
        let world = world();
        let at = world.path().join("pins/0");
        let volume = world.path().join("volume");
        mount(world.path(), "dir").pin(&at).unwrap();
        fs::rename(volume.join("dir"), volume.join("old")).unwrap();
        symlink("../secret", volume.join("dir")).unwrap();
        assert_eq!(fs::read_to_string(at.join("file")).unwrap(), "inside");
        assert!(mount(world.path(), "dir").pin(&at).is_err());
        mount(world.path(), "old/file").pin(&at).unwrap();
        assert_eq!(fs::read_to_string(&at).unwrap(), "inside", "a file in the place of the directory");
        unpin(&at);
        assert_eq!(fs::read_to_string(&at).unwrap(), "");
    }
}
