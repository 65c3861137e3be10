//! Signals by name, as pods and images write them, and the end of those that got them.

use std::os::fd::OwnedFd;

use rustix::process::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const NAMES: [(&str, Signal); 31] = [
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("BUS", Signal::BUS),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("FPE", Signal::FPE),
    ("HUP", Signal::HUP),
    ("ILL", Signal::ILL),
    ("INT", Signal::INT),
    ("IO", Signal::IO),
    ("KILL", Signal::KILL),
    ("PIPE", Signal::PIPE),
    ("PROF", Signal::PROF),
    ("PWR", Signal::POWER),
    ("QUIT", Signal::QUIT),
    ("SEGV", Signal::SEGV),
    ("STKFLT", Signal::STKFLT),
    ("STOP", Signal::STOP),
    ("SYS", Signal::SYS),
    ("TERM", Signal::TERM),
    ("TRAP", Signal::TRAP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("VTALRM", Signal::VTALARM),
    ("WINCH", Signal::WINCH),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
];

/// `SIGTERM`, `TERM` or `15`; `None` for what is none, or a real-time one.
pub fn by_name(name: &str) -> Option<Signal> {
    if let Ok(number) = name.parse::<i32>() {
        return Signal::from_named_raw(number);
    }
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.iter().find(|(name, _)| *name == short).map(|(_, signal)| *signal)
}

/// Returns once the process has ended.
#[allow(unsafe_code, reason = "the safe constructor is deprecated; this one asks for what an OwnedFd guarantees")]
pub async fn ended(pidfd: OwnedFd) {
    // SAFETY: an `OwnedFd` is open, and stays the same descriptor, until it is dropped.
    match unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) } {
        Ok(fd) => drop(fd.readable().await),
        Err(error) => tracing::warn!(%error, "cannot wait for a process"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (name, expected) in
            [("SIGQUIT", Some(Signal::QUIT)), ("usr1", Some(Signal::USR1)), ("15", Some(Signal::TERM))]
        {
            assert_eq!(by_name(name), expected, "{name}");
        }
        assert_eq!(by_name("SIGNOPE"), None);
    }
}
