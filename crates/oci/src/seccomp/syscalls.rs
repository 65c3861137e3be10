//! Numbers of system calls by name, and the kernel's names of architectures.
//!
//! The tables are facts of Linux 6.18: `NUMBER NAME`, one a line, in order.

use std::collections::BTreeMap;

/// An architecture whose programs may run on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    X86_64,
    /// Programs of 32 bits on a machine of 64.
    X86,
    Aarch64,
}

pub(super) use Architecture::{Aarch64, X86, X86_64};

impl Architecture {
    /// This machine's; `None` where filters are not known to us.
    pub(super) fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(X86_64),
            "aarch64" => Some(Aarch64),
            _ => None,
        }
    }

    /// As profiles write it; `None` for those that cannot run here anyway, or whose calls we do not know.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        match name {
            "SCMP_ARCH_X86_64" => Some(X86_64),
            "SCMP_ARCH_X86" => Some(X86),
            "SCMP_ARCH_AARCH64" => Some(Aarch64),
            _ => None,
        }
    }

    /// As the conditions of profiles write it.
    pub(super) fn go_name(self) -> &'static str {
        match self {
            X86_64 => "amd64",
            X86 => "x86",
            Aarch64 => "arm64",
        }
    }

    /// Whether a machine of that kind runs programs of this one.
    pub(super) fn runs_on(self, native: Self) -> bool {
        self == native || (self, native) == (X86, X86_64)
    }

    /// As the kernel tells filters (`AUDIT_ARCH_...`).
    pub(super) fn audit_number(self) -> u32 {
        match self {
            X86_64 => 0xc000_003e,
            X86 => 0x4000_0003,
            Aarch64 => 0xc000_00b7,
        }
    }

    pub(super) fn syscalls(self) -> BTreeMap<&'static str, u32> {
        let table = match self {
            X86_64 => include_str!("syscalls/x86_64.txt"),
            X86 => include_str!("syscalls/x86.txt"),
            Aarch64 => include_str!("syscalls/aarch64.txt"),
        };
        let lines = table.lines().filter_map(|line| line.split_once(' '));
        lines.filter_map(|(number, name)| Some((name, number.parse().ok()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_whole() {
        for (architecture, count, read, last) in [(X86_64, 382, 0, 469), (X86, 459, 3, 469), (Aarch64, 325, 63, 469)] {
            let table = architecture.syscalls();
            assert_eq!((table.len(), table["read"], table["file_setattr"]), (count, read, last), "{architecture:?}");
        }
    }
}
