//! Whether a process that we knew once is still the same one and alive.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process by what no other one ever has: its number together with when it was started, in which boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownProcess {
    pub boot_id: String,
    pub pid: i32,
    /// In clock ticks since boot.
    pub start: u64,
}

impl KnownProcess {
    /// `None` if there is no process of that number.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { boot_id: boot_id(), pid, start: stat(pid)?.start })
    }

    /// A handle of the process, if it still lives.
    pub fn open(&self) -> Option<OwnedFd> {
        if self.boot_id == boot_id() { open(self.pid, self.start) } else { None }
    }

    /// Kills it, and whatever dies with it; gone already is fine.
    pub fn kill(&self) {
        if let Some(process) = self.open() {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }
}

/// A number of this boot of the machine: process ids of another boot mean nothing.
pub(super) fn boot_id() -> String {
    this_boot().unwrap_or_default().to_string()
}

/// The same, for who must know.
///
/// # Errors
/// If it cannot be read.
pub(super) fn this_boot() -> io::Result<&'static str> {
    static KNOWN: OnceLock<String> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known);
    }
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(KNOWN.get_or_init(|| id.trim().to_string()))
}

/// What `/proc/PID/stat` tells of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) zombie: bool,
    pub(super) parent: i32,
    pub(super) session: i32,
    /// In clock ticks since boot.
    pub(super) start: u64,
}

pub(super) fn stat(pid: i32) -> Option<Stat> {
    look(pid).ok().flatten()
}

/// `None`: there is no such process. An error says nothing about it: there may be too many open files just then.
fn look(pid: i32) -> io::Result<Option<Stat>> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => Ok(parse_stat(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // It has gone between the two.
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name in parentheses may hold anything, so what follows is counted from the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
    Some(Stat {
        zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

/// Alive, and the one that started then.
///
/// # Errors
/// If nobody knows.
pub(super) fn is_alive(pid: i32, start: u64) -> io::Result<bool> {
    Ok(look(pid)?.is_some_and(|stat| stat.start == start && !stat.zombie))
}

/// A handle of a process that is alive and the one that started then.
pub(super) fn open(pid: i32, start: u64) -> Option<OwnedFd> {
    try_open(pid, start).ok().flatten()
}

/// The same, for who must know that there is none.
///
/// # Errors
/// If nobody knows.
pub(super) fn try_open(pid: i32, start: u64) -> io::Result<Option<OwnedFd>> {
    let Some(known) = Pid::from_raw(pid) else { return Ok(None) };
    let fd = match pidfd_open(known, PidfdFlags::NONBLOCK) {
        // The number may be that of another's thread by now.
        Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
        opened => opened?,
    };
    // Opened first, compared then: the number cannot change hands between the two.
    Ok(is_alive(pid, start)?.then_some(fd))
}

/// Every process there is.
pub(super) fn all() -> impl Iterator<Item = (i32, Stat)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?)))
}

/// Kills every process of these sessions; returns how many there were.
pub(super) fn kill_sessions(sessions: &[i32]) -> usize {
    let members = all().filter(|(_, stat)| sessions.contains(&stat.session) && !stat.zombie);
    members.filter(|(pid, _)| kill(*pid)).count()
}

pub(super) fn kill(pid: i32) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| rustix::process::kill_process(pid, Signal::KILL).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_strange_names() {
        let text = "42 (a) b (c)) S 7 42 41 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 12345 99";
        assert_eq!(parse_stat(text), Some(Stat { zombie: false, parent: 7, session: 41, start: 12345 }));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn we_are_alive() {
        let me = std::process::id() as i32;
        let start = stat(me).unwrap().start;
        assert!(is_alive(me, start).unwrap() && open(me, start).is_some());
        assert!(!is_alive(me, start + 1).unwrap() && open(me, start + 1).is_none());
        let known = KnownProcess::of(me).unwrap();
        assert!(known.open().is_some());
        assert!(KnownProcess { boot_id: "another".into(), ..known }.open().is_none());
    }
}
