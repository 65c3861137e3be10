//! Where the files of pods lie, and how they are written.
//!
//! ```text
//! PODS/UID/pod.json                            which pod this is
//! PODS/UID/runtime.json                        which runtime it belongs to
//! PODS/UID/object.json                         its object, as the agent saw it last
//! PODS/UID/volumes/NAME/                       its volumes
//! PODS/UID/containers/NAME/ATTEMPT/spec.json   what to run: written by the agent, read by the shim
//!                                  state.json  that it runs: written by the shim
//!                                  exit.json   how it ended: written by the shim, and by the agent for a lost one
//!                                  attach.sock where clients attach, while it runs
//!                                  shim.err    what the shim had to complain about
//! PODS/UID/logs/NAME/ATTEMPT.log               in CRI format; older parts .log.1, .log.2 ...
//! ```

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::KnownProcess;
use crate::runtime::{ContainerKey, Mount};

/// The directory of all pods.
#[derive(Clone, Debug)]
pub struct Layout {
    pub pods: PathBuf,
}

/// What a shim is to run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ShimSpec {
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
    pub working_dir: Option<String>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mounts: Vec<Mount>,
    pub cgroups: Vec<CgroupSeat>,
    /// Limits that could not be set, and why; of use before the start only.
    #[serde(skip)]
    pub limits_missing: Vec<String>,
    pub log: PathBuf,
    pub log_bytes_max: u64,
    /// How many files, the current one included.
    pub log_files: u32,
    pub attempt: u32,
    pub backoff_seconds: i64,
    pub image: String,
    /// A container that fails leaves the end of its log as its last words.
    pub message_from_log: bool,
    #[serde(default)]
    pub stdin: bool,
    #[serde(default)]
    pub stdin_once: bool,
    #[serde(default)]
    pub tty: bool,
    /// As the image's digest, for runtimes that have images.
    #[serde(default)]
    pub image_id: String,
    /// By name; `None`: `SIGTERM`.
    #[serde(default)]
    pub stop_signal: Option<String>,
    /// A file whose content becomes the message of the container's end.
    #[serde(default)]
    pub termination_message: Option<PathBuf>,
    /// What encloses the command, in the words of the shim's [`super::Enclosure`]; `None`: nothing does.
    #[serde(default)]
    pub enclosure: Option<serde_json::Value>,
}

/// A cgroup that the container runs in, and the one that its shim goes back to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CgroupSeat {
    pub dir: PathBuf,
    pub home: PathBuf,
}

/// That a container runs. Process ids come round again, so each goes with its start time and the boot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShimState {
    pub boot_id: String,
    pub shim_pid: i32,
    pub shim_start: u64,
    pub pid: i32,
    pub pid_start: u64,
    pub started_at: Timestamp,
}

impl ShimState {
    /// The container's own process.
    pub fn main(&self) -> KnownProcess {
        KnownProcess { boot_id: self.boot_id.clone(), pid: self.pid, start: self.pid_start }
    }
}

/// In a pod's directory: parts of its volumes, mounted for a runtime, by container.
pub const SUB_PATHS: &str = "sub-paths";

impl Layout {
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods.join(uid)
    }

    pub fn object(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("object.json")
    }

    pub fn volumes(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("volumes")
    }

    pub fn containers(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("containers")
    }

    pub fn attempts(&self, uid: &str, container: &str) -> PathBuf {
        self.containers(uid).join(container)
    }

    pub fn attempt(&self, key: &ContainerKey) -> PathBuf {
        self.attempts(&key.pod_uid, &key.name).join(key.attempt.to_string())
    }

    pub fn logs(&self, uid: &str, container: &str) -> PathBuf {
        self.pod(uid).join("logs").join(container)
    }

    pub fn log(&self, key: &ContainerKey) -> PathBuf {
        self.logs(&key.pod_uid, &key.name).join(format!("{}.log", key.attempt))
    }
}

/// The attempts of which a directory holds something, in order.
///
/// # Errors
/// If it cannot be read.
pub fn attempt_numbers(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers: Vec<u32> = try_names(dir)?.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The names in a directory, in order; none if it does not exist, or cannot be read.
pub fn names(dir: &Path) -> Vec<String> {
    try_names(dir).unwrap_or_default()
}

/// The names in a directory, in order; none if it does not exist.
///
/// # Errors
/// If it cannot be read, as while there are too many open files.
pub fn try_names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?.collect::<io::Result<Vec<_>>>()?,
    };
    let mut names: Vec<String> = entries.iter().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Reads a JSON file; `None` if it is not there or not whole, or cannot be read.
pub fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    try_read(path).ok().flatten()
}

/// Reads a JSON file; `None` if it is not there or not whole.
///
/// # Errors
/// If it cannot be read, as while there are too many open files.
pub fn try_read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a JSON file so that it is there as a whole or not at all, also after a power cut.
pub fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    let temporary = temporary(path);
    // What [`reserve`] has set aside for it is written over, not given back.
    let mut file = File::options().create(true).write(true).truncate(false).open(&temporary)?;
    file.write_all(&bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

/// Sets room on the disk aside, so that a [`write()`] of up to so many bytes succeeds when the disk is full.
pub fn reserve(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = File::create(temporary(path))?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        // Not every file system can; and some would have to be asked again.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => {
            (0..bytes.div_ceil(512)).try_for_each(|_| file.write_all(&[b' '; 512]))
        }
        done => Ok(done?),
    }
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever was left of an earlier attempt to write, the file is what was written last.
    #[test]
    fn files_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let check = |left: &str, value: &str| {
            std::fs::write(temporary(&path), left).unwrap();
            write(&path, &value).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("\"{value}\""), "over {left:?}");
            assert_eq!(names(dir.path()), ["a.json"]);
        };
        check("", "first");
        check("\"what was never finis", "x");
        check("\"sho", "longer than what was there");
        reserve(&path, 5000).unwrap();
        assert_eq!(std::fs::metadata(temporary(&path)).unwrap().len(), 5000);
        assert_eq!(read::<String>(&path).unwrap(), "longer than what was there", "what is reserved is not believed");
        write(&path, &"in it").unwrap();
        assert_eq!(read::<String>(&path).unwrap(), "in it");
    }
}
