//! Filters of system calls: which ones a container may use at all.
//!
//! [`filter`] is computed by the agent, where a mistake in a profile can still be told; the shim only loads it.

mod bpf;
mod default;
mod profile;
mod syscalls;

use std::path::{Component, Path};

use backstay_node::runtime::Profile;
use serde::{Deserialize, Serialize};

use crate::container::capability;
use bpf::{Instruction, Section};
use syscalls::Architecture;

/// Actions other than `allow` are logged (`SECCOMP_FILTER_FLAG_LOG`).
const LOG_FLAG: u32 = 2;
/// No protection against speculation is added (`SECCOMP_FILTER_FLAG_SPEC_ALLOW`).
const SPEC_ALLOW_FLAG: u32 = 4;

/// A program for the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filter {
    flags: u32,
    program: Vec<u64>,
}

/// Whom a filter is for.
struct Subject {
    architecture: Architecture,
    /// One bit per capability that the container may ever have.
    capabilities: u64,
    kernel: (u32, u32),
}

impl Subject {
    /// With `CAP_` or without.
    fn is_capable(&self, name: &str) -> bool {
        capability(name).is_some_and(|bit| self.capabilities & bit != 0)
    }
}

/// The filter of a container; `None`: it may use all calls. `root` is the directory of the node's own profiles.
///
/// # Errors
/// If the profile is not there, or cannot be used.
pub(crate) fn filter(profile: &Profile, capabilities: u64, root: &Path) -> Result<Option<Filter>, String> {
    let subject = || {
        let architecture = Architecture::native();
        let architecture =
            architecture.ok_or_else(|| format!("seccomp profiles are not supported on {}", std::env::consts::ARCH))?;
        let kernel = profile::version(&rustix::system::uname().release().to_string_lossy());
        Ok::<_, String>(Subject { architecture, capabilities, kernel })
    };
    match profile {
        // As the kubelet has it, unless it is told otherwise.
        Profile::Unset | Profile::Unconfined => Ok(None),
        Profile::RuntimeDefault => default::filter(&subject()?).map(Some),
        Profile::Localhost(name) => {
            let unusable = |why: String| format!("cannot load seccomp profile {name:?}: {why}");
            if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
                return Err(unusable("it must be a path below the node's directory of profiles".into()));
            }
            let path = root.join(name);
            let text = std::fs::read(&path).map_err(|error| unusable(format!("{}: {error}", path.display())))?;
            let filter = profile::parse(&text, &subject()?);
            filter.map(Some).map_err(|error| unusable(format!("{}: {error}", path.display())))
        }
    }
}

/// Whether a text is a profile that a container could be under.
///
/// # Errors
/// If not, with what is wrong.
pub fn check_profile(text: &[u8]) -> Result<(), String> {
    let architecture = Architecture::native().unwrap_or(syscalls::X86_64);
    profile::parse(text, &Subject { architecture, capabilities: 0, kernel: (5, 10) }).map(drop)
}

impl Filter {
    fn compile(sections: &[Section], flags: u32) -> Result<Self, String> {
        let program = bpf::compile(sections)?.into_iter().map(Instruction::pack).collect();
        Ok(Self { flags, program })
    }

    /// Puts this thread, and what it becomes and starts, under the filter: for ever.
    ///
    /// # Errors
    /// Without either `no_new_privs` or `CAP_SYS_ADMIN`, and where the kernel has no filters.
    #[allow(unsafe_code, reason = "no safe interface takes a program")]
    pub(crate) fn load(&self) -> std::io::Result<()> {
        let instructions = self.program.iter().map(|packed| {
            let Instruction { code, if_true, if_false, value } = Instruction::unpack(*packed);
            libc::sock_filter { code, jt: if_true, jf: if_false, k: value }
        });
        let mut instructions: Vec<libc::sock_filter> = instructions.collect();
        let program = libc::sock_fprog { len: instructions.len() as u16, filter: instructions.as_mut_ptr() };
        // SAFETY: the kernel reads the program, which outlives the call, and checks every instruction.
        let loaded =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, self.flags, &raw const program) };
        if loaded == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a call, in words.
    pub(super) fn outcome(filter: &Filter, architecture: Architecture, name: &str, arguments: &[u64]) -> String {
        let program: Vec<Instruction> = filter.program.iter().map(|packed| Instruction::unpack(*packed)).collect();
        let number = architecture.syscalls()[name];
        let action = bpf::run(&program, architecture.audit_number(), number, arguments);
        match action & 0xffff_0000 {
            bpf::ALLOW => "allow".into(),
            bpf::ERRNO => format!("errno {}", action & 0xffff),
            bpf::LOG => "log".into(),
            bpf::TRAP => "trap".into(),
            bpf::KILL_PROCESS | bpf::KILL_THREAD => "kill".into(),
            _ => format!("{action:#x}"),
        }
    }

    #[test]
    fn profiles_come_from_the_nodes_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/fine.json"), r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
        std::fs::write(dir.path().join("broken.json"), "{").unwrap();
        let check = |name: &str, expected: &str| {
            let found = filter(&Profile::Localhost(name.into()), 0, dir.path());
            let shown = found.map(|it| format!("{}", it.is_some())).unwrap_or_else(|error| error);
            assert!(shown.contains(expected), "{name}: {shown}");
        };
        check("a/fine.json", "true");
        check("none.json", "none.json: No such file or directory");
        check("broken.json", "broken.json: EOF");
        check("../x.json", "must be a path below");
        check("/etc/passwd", "must be a path below");
        assert_eq!(filter(&Profile::Unset, 0, dir.path()), Ok(None));
        assert_eq!(filter(&Profile::Unconfined, 0, dir.path()), Ok(None));
    }
}
