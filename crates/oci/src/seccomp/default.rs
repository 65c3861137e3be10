//! The profile of containers that ask for the runtime's own (`RuntimeDefault`).
//!
//! Whatever the kernel has is allowed but what is listed here: what concerns the machine as a whole and not the
//! container, has no use in one, or was a way out of one before. Some of it is allowed to those who have a capability
//! for it. Calls that are newer than our tables do not exist. This comes to the same as the defaults of containerd and
//! Docker, without their list of three hundred calls that do no harm.

use std::collections::BTreeMap;

use super::bpf::{ALLOW, Condition, ERRNO, Is, Rule, Section};
use super::profile::ENOSYS;
use super::syscalls::{Aarch64, Architecture, X86, X86_64};
use super::{Filter, Subject};

const EPERM: u32 = 1;

/// Nobody's.
const REFUSED: &str = "_sysctl add_key afs_syscall bdflush create_module get_kernel_syms io_uring_enter \
    io_uring_register io_uring_setup kexec_file_load kexec_load keyctl lsm_set_self_attr migrate_pages move_pages \
    nfsservctl pivot_root query_module request_key swapoff swapon sysfs uselib userfaultfd ustat vm86 vm86old vserver";

/// For those who have one of these capabilities.
const GUARDED: [(&[&str], &str); 14] = [
    (
        &["SYS_ADMIN"],
        "fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie mount mount_setattr move_mount open_tree \
            open_tree_attr quotactl quotactl_fd setdomainname sethostname setns statmount umount umount2 unshare",
    ),
    (&["SYS_ADMIN", "BPF"], "bpf"),
    (&["SYS_ADMIN", "PERFMON"], "perf_event_open"),
    (&["SYS_ADMIN", "SYSLOG"], "syslog"),
    (&["DAC_READ_SEARCH"], "open_by_handle_at"),
    (&["SYS_BOOT"], "reboot"),
    (&["SYS_CHROOT"], "chroot"),
    (&["SYS_MODULE"], "delete_module finit_module init_module"),
    (&["SYS_NICE"], "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (&["SYS_PACCT"], "acct"),
    (&["SYS_PTRACE"], "kcmp pidfd_getfd process_madvise"),
    (&["SYS_RAWIO"], "ioperm iopl"),
    (&["SYS_TIME"], "clock_settime clock_settime64 settimeofday stime"),
    (&["SYS_TTY_CONFIG"], "vhangup"),
];

/// All flags of `clone` that make namespaces.
const NAMESPACES: u64 = 0x7e02_0000;
/// Linux, with addresses as on old machines or without; and the question which it is.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Sockets between virtual machines and their host know no namespaces.
const AF_VSOCK: u64 = 40;

/// # Errors
/// If the kernel would not take it.
pub(super) fn filter(subject: &Subject) -> Result<Filter, String> {
    let sections: Vec<Section> =
        architectures(subject.architecture).iter().map(|architecture| section(*architecture, subject)).collect();
    Filter::compile(&sections, 0)
}

fn architectures(native: Architecture) -> &'static [Architecture] {
    match native {
        X86_64 => &[X86_64, X86],
        X86 => &[X86],
        Aarch64 => &[Aarch64],
    }
}

fn section(architecture: Architecture, subject: &Subject) -> Section {
    let always = |action| vec![Rule { conditions: Vec::new(), action }];
    let only_if = |is, values: &[u64]| {
        let one = |value: &u64| Rule { conditions: vec![Condition { argument: 0, is, value: *value }], action: ALLOW };
        values.iter().map(one).chain(always(ERRNO | EPERM)).collect::<Vec<_>>()
    };
    let mut refused: BTreeMap<&str, Vec<Rule>> = BTreeMap::new();
    refused.extend(REFUSED.split_whitespace().map(|name| (name, always(ERRNO | EPERM))));
    for (capabilities, names) in GUARDED {
        if !capabilities.iter().any(|name| subject.is_capable(name)) {
            refused.extend(names.split_whitespace().map(|name| (name, always(ERRNO | EPERM))));
        }
    }
    if !subject.is_capable("SYS_ADMIN") {
        refused.insert("clone", only_if(Is::EqualUnder(NAMESPACES), &[0]));
        // Its flags lie in memory, where no filter sees them; without it, programs use the other.
        refused.insert("clone3", always(ERRNO | ENOSYS));
    }
    refused.insert("personality", only_if(Is::Equal, &PERSONALITIES));
    refused.insert("socket", only_if(Is::NotEqual, &[AF_VSOCK]));
    let rules = architecture.syscalls().into_iter();
    let rules = rules.map(|(name, number)| (number, refused.get(name).cloned().unwrap_or_else(|| always(ALLOW))));
    Section { architecture, rules: rules.collect(), usual: ERRNO | ENOSYS, beyond: ERRNO | ENOSYS }
}

#[cfg(test)]
mod tests {
    use super::super::tests::outcome;
    use super::*;

    fn check(capability: &str, calls: &[(&str, &[u64], &str)]) {
        let capabilities = crate::container::capability(capability).unwrap_or(0);
        let filter = filter(&Subject { architecture: X86_64, capabilities, kernel: (6, 0) }).unwrap();
        for architecture in [X86_64, X86] {
            for (name, arguments, expected) in calls {
                let seen = outcome(&filter, architecture, name, arguments);
                assert_eq!(seen, *expected, "{name} {arguments:?} with {capability:?} on {architecture:?}");
            }
        }
    }

    #[test]
    fn what_containers_need_is_allowed() {
        for name in ["read", "execve", "futex", "ptrace", "clone", "chown", "seccomp", "mseal", "landlock_add_rule"] {
            check("", &[(name, &[], "allow")]);
        }
        check("", &[("personality", &[8], "allow"), ("personality", &[1], "errno 1")]);
        check("", &[("socket", &[2], "allow"), ("socket", &[40], "errno 1")]);
        check("", &[("clone", &[0x1200_0000], "errno 1"), ("clone", &[0x0100_0011], "allow")]);
        check("", &[("clone3", &[], "errno 38")]);
    }

    #[test]
    fn the_machine_is_for_those_with_a_right_to_it() {
        for name in ["keyctl", "kexec_load", "io_uring_setup", "userfaultfd", "pivot_root"] {
            check("SYS_ADMIN", &[(name, &[], "errno 1")]);
        }
        for (capabilities, names) in GUARDED {
            for name in names.split_whitespace().filter(|name| X86_64.syscalls().contains_key(name)) {
                let known = X86.syscalls().contains_key(name);
                assert!(known, "{name}");
                check("", &[(name, &[], "errno 1")]);
                capabilities.iter().for_each(|capability| check(capability, &[(name, &[], "allow")]));
            }
        }
        check("SYS_ADMIN", &[("clone", &[0x1200_0000], "allow"), ("clone3", &[], "allow")]);
    }

    #[test]
    fn every_name_is_one() {
        let known = |name: &str| [X86_64, X86, Aarch64].iter().any(|it| it.syscalls().contains_key(name));
        let guarded = GUARDED.iter().flat_map(|(_, names)| names.split_whitespace());
        let unknown: Vec<&str> = REFUSED.split_whitespace().chain(guarded).filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        let capabilities = GUARDED.iter().flat_map(|(capabilities, _)| capabilities.iter());
        assert!(capabilities.into_iter().all(|name| crate::container::capability(name).is_some()));
    }
}
