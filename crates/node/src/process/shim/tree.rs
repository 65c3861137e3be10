//! Ends everything that a container has started.

use std::collections::BTreeSet;

use rustix::process::{WaitOptions, wait};

use super::super::alive;

/// Kills all descendants of this process and reaps them. Whatever loses its parent becomes our child, since we are a
/// subreaper, so nothing gets away.
pub(super) fn end_all() {
    loop {
        let found = descendants();
        for pid in &found {
            alive::kill(*pid);
        }
        if reap_all() && found.is_empty() {
            return;
        }
        // The killed need a moment to die; there is nothing to wait on for grandchildren.
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Reaps whoever has died. Returns whether there are no children left at all.
fn reap_all() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

fn descendants() -> BTreeSet<i32> {
    let processes: Vec<(i32, alive::Stat)> = alive::all().collect();
    let mut family = BTreeSet::from([std::process::id() as i32]);
    loop {
        let born = processes.iter().filter(|(pid, stat)| family.contains(&stat.parent) && !family.contains(pid));
        let born: Vec<i32> = born.map(|(pid, _)| *pid).collect();
        if born.is_empty() {
            break;
        }
        family.extend(born);
    }
    family.remove(&(std::process::id() as i32));
    let zombies: BTreeSet<i32> = processes.iter().filter(|(_, stat)| stat.zombie).map(|(pid, _)| *pid).collect();
    &family - &zombies
}
