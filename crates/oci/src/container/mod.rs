//! What encloses a container's command: carried out by the shim, in the child between fork and exec.

mod pause;
mod rights;
mod root;

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use backstay_node::process::{Enclosure, KnownProcess, Terminal, shim_main_with};
use backstay_node::runtime::Mount;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags, move_into_link_name_space, move_into_thread_name_spaces,
};
use serde::{Deserialize, Serialize};

use crate::seccomp::Filter;
use crate::terminal;

pub(crate) use pause::{MAKE as MAKE_PAUSE, STATE as PAUSE_STATE};
pub use rights::{DEFAULT_CAPABILITIES, capability, has_everything};

/// All that the shim needs to know of a container; nothing is left to look up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// The store's directory of layers, which the layers are named relative to.
    pub layers_dir: PathBuf,
    /// Lowest first.
    pub layers: Vec<String>,
    /// The container's own directory: holds what it writes.
    pub dir: PathBuf,
    pub read_only_root: bool,
    /// Directories of the image that can be written even then.
    #[serde(default)]
    pub volumes: Vec<PathBuf>,
    pub mounts: Vec<Mount>,
    /// Files that stand for namespaces of the pod, by the kernel's name: `net`, `ipc`, `uts`.
    pub pinned: Vec<(String, PathBuf)>,
    /// A namespace of its own, that nobody shares.
    pub own_pid: bool,
    /// A process of the process namespace that the containers of the pod share.
    #[serde(default)]
    pub pid_of: Option<KnownProcess>,
    pub own_ipc: bool,
    /// The directory that containers of the pod share as `/dev/shm`; `None`: its own.
    pub shm: Option<PathBuf>,
    pub privileged: bool,
    pub unmasked_proc: bool,
    pub no_new_privileges: bool,
    pub oom_score_adj: i32,
    pub working_dir: PathBuf,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// One bit per capability that it may ever have.
    pub capabilities: u64,
    /// `None`: it may use all calls of the system.
    #[serde(default)]
    pub(crate) seccomp: Option<Filter>,
}

/// What an overlay over the image needs: for what is written, for its own work, and to be mounted at.
pub(crate) const OVERLAY: [&str; 3] = ["upper", "work", "merged"];
/// Another one, below the container's directory, for the image's volumes.
pub(crate) const VOLUMES: &str = "volumes";

/// The hidden subcommand `shim` of a binary that can run containers.
///
/// Must be called before any other thread exists.
pub fn shim_main(args: impl IntoIterator<Item = OsString>) -> i32 {
    let args: Vec<OsString> = args.into_iter().collect();
    match args.as_slice() {
        [verb, dir] if verb == MAKE_PAUSE => pause::main(|| pause::make(Path::new(dir))),
        [verb, dir] if verb == pause::BE => pause::main(|| pause::be(Path::new(dir))),
        _ => shim_main_with(args, &mut Enclosed::default()),
    }
}

#[derive(Default)]
struct Enclosed {
    /// What the child has to say when it fails.
    complaints: Option<(OwnedFd, OwnedFd)>,
    /// The process namespace that the shim itself belongs to.
    own_pid: Option<OwnedFd>,
    /// The container's file system of terminals, if its command is on one of them.
    terminals: Option<OwnedFd>,
}

impl Enclosed {
    /// Runs `prepare` in the child; its complaint reaches [`Enclosure::started`].
    #[allow(unsafe_code, reason = "a container's root and rights can only be set between fork and exec")]
    fn in_child(
        &mut self,
        command: &mut Command,
        mut prepare: impl FnMut() -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<(), String> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| format!("a pipe: {error}"))?;
        let end = writer.try_clone().map_err(|error| format!("a pipe: {error}"))?;
        let end = std::fs::File::from(end);
        let before_exec = move || {
            prepare().map_err(|complaint| {
                let _ = (&end).write_all(complaint.as_bytes());
                io::Error::from_raw_os_error(rustix::io::Errno::CANCELED.raw_os_error())
            })
        };
        // SAFETY: the shim has a single thread, so that the child's memory is consistent, and it may allocate.
        unsafe { command.pre_exec(before_exec) };
        self.complaints = Some((reader, writer));
        Ok(())
    }
}

impl Enclosure for Enclosed {
    fn terminal(&mut self) -> Result<Option<Terminal>, String> {
        let terminals = self.terminals.insert(root::terminals()?);
        terminal::first(terminals).map(Some).map_err(|error| format!("cannot make a terminal: {error}"))
    }

    fn enclose(&mut self, words: &serde_json::Value, command: &mut Command) -> Result<(), String> {
        let words = read(words)?;
        let volumes = Some(words.dir.join(VOLUMES)).filter(|_| !words.volumes.is_empty());
        for dir in [Some(words.dir.clone()), volumes].into_iter().flatten() {
            for place in OVERLAY.map(|name| dir.join(name)) {
                std::fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
            }
        }
        if words.own_pid || words.pid_of.is_some() {
            let own =
                std::fs::File::open("/proc/self/ns/pid").map_err(|error| format!("/proc/self/ns/pid: {error}"))?;
            match &words.pid_of {
                Some(member) => enter_pid_namespace(member)?,
                None => unshare(UnshareFlags::NEWPID)?,
            }
            self.own_pid = Some(own.into());
        }
        let terminals = self.terminals.take();
        self.in_child(command, move || {
            root::enter(&words, terminals.as_ref())?;
            rights::take(&words)
        })
    }

    fn started(&mut self) -> Result<(), String> {
        if let Some(own) = self.own_pid.take() {
            // Else nothing could be started any more once the container has ended.
            move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID))
                .map_err(|error| format!("cannot return to the process namespace: {error}"))?;
        }
        let Some((reader, writer)) = self.complaints.take() else { return Ok(()) };
        // The child's end is closed when it becomes the command; `started` is called after that.
        drop(writer);
        rustix::io::ioctl_fionbio(&reader, true).map_err(|error| format!("a pipe: {error}"))?;
        let mut complaint = String::new();
        let _ = std::fs::File::from(reader).read_to_string(&mut complaint);
        if complaint.is_empty() { Ok(()) } else { Err(complaint) }
    }

    fn join(&mut self, words: &serde_json::Value, pid: i32, command: &mut Command) -> Result<(), String> {
        let words = read(words)?;
        let mut kinds = vec![("mnt", LinkNameSpaceType::Mount), ("cgroup", LinkNameSpaceType::ControlGroup)];
        kinds.extend([
            ("ipc", LinkNameSpaceType::InterProcessCommunication),
            ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
        ]);
        kinds.extend([("net", LinkNameSpaceType::Network), ("pid", LinkNameSpaceType::ProcessID)]);
        let mut opened = Vec::new();
        for (name, kind) in kinds {
            let path = format!("/proc/{pid}/ns/{name}");
            opened.push((std::fs::File::open(&path).map_err(|error| format!("{path}: {error}"))?, kind, name));
        }
        // Its mounts last: they hide our own /proc.
        opened.rotate_left(1);
        for (file, kind, name) in &opened {
            move_into_link_name_space(file.as_fd(), Some(*kind))
                .map_err(|error| format!("cannot enter the container's {name} namespace: {error}"))?;
        }
        self.in_child(command, move || rights::take(&words))
    }
}

fn read(words: &serde_json::Value) -> Result<Words, String> {
    Words::deserialize(words).map_err(|error| format!("spec.json: {error}"))
}

/// Has children born into the process namespace of another process.
fn enter_pid_namespace(member: &KnownProcess) -> Result<(), String> {
    let process = member.open().ok_or("the process namespace of the pod is gone")?;
    move_into_thread_name_spaces(process.as_fd(), ThreadNameSpaceType::PROCESS_ID)
        .map_err(|error| format!("cannot enter the process namespace of the pod: {error}"))
}

fn unshare(flags: UnshareFlags) -> Result<(), String> {
    #[allow(deprecated, reason = "its flaw concerns shared file tables only")]
    rustix::thread::unshare(flags).map_err(|error| format!("cannot make namespaces ({flags:?}): {error}"))
}

fn failed<E: std::fmt::Display>(what: &str, path: &Path) -> impl FnOnce(E) -> String {
    move |error| format!("cannot {what} {}: {error}", path.display())
}
