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

use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

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
pub fn attempt_numbers(dir: &Path) -> Vec<u32> {
    let mut numbers: Vec<u32> = names(dir).iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// The names in a directory, in order; none if it does not exist.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Reads a JSON file; `None` if it is not there or not whole.
pub fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Writes a JSON file so that it is there as a whole or not at all, also after a power cut.
pub fn write<T: Serialize>(path: &Path, value: &T) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}
