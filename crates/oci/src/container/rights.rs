//! As whom, and with which rights, a command runs in its container.

use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{Words, failed};

/// In the order of their numbers.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What containers may do unless they say otherwise: the usual set without `MKNOD`, since no filter of devices would
/// keep one from making itself a disk of the host.
pub const DEFAULT_CAPABILITIES: [&str; 13] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The bit of a capability by name, with or without `CAP_`.
pub fn capability(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    CAPABILITIES.iter().position(|known| *known == short).map(|number| 1 << number)
}

pub fn has_everything() -> u64 {
    (1 << CAPABILITIES.len()) - 1
}

/// Gives up all rights that the container is not to have. Nothing that needs them can be done after this.
pub(super) fn take(words: &Words) -> Result<(), String> {
    let denied = |error: rustix::io::Errno| format!("cannot give up rights: {error}");
    for number in 0..CAPABILITIES.len() {
        let bit = CapabilitySet::from_bits_retain(1 << number);
        if words.capabilities & bit.bits() == 0 && rustix::thread::capability_is_in_bounding_set(bit) == Ok(true) {
            rustix::thread::remove_capability_from_bounding_set(bit).map_err(denied)?;
        }
    }
    let filter = |when: bool| match &words.seccomp {
        Some(filter) if when => filter.load().map_err(|error| format!("cannot load the seccomp filter: {error}")),
        _ => Ok(()),
    };
    // Without `no_new_privs` it takes a right that is soon gone; what follows is then filtered already.
    filter(!words.no_new_privileges)?;
    let groups: Vec<_> = words.groups.iter().map(|group| rustix::process::Gid::from_raw(*group)).collect();
    rustix::thread::set_thread_groups(&groups).map_err(denied)?;
    let (uid, gid) = (rustix::process::Uid::from_raw(words.uid), rustix::process::Gid::from_raw(words.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(denied)?;
    // While there still is a right to it: a working directory of root's is entered even by others, as by runc.
    std::env::set_current_dir(&words.working_dir).map_err(failed("enter the working directory", &words.working_dir))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(denied)?;
    let mine = rustix::thread::capabilities(None).map_err(denied)?;
    let kept = CapabilitySet::from_bits_retain(words.capabilities);
    // At exec, root gets back whatever is in the bounding set; nobody else gets anything.
    let sets = CapabilitySets {
        effective: mine.effective & kept,
        permitted: mine.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).map_err(denied)?;
    if words.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(denied)?;
    }
    // A change of user has taken it away.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(denied)?;
    filter(words.no_new_privileges)
}
