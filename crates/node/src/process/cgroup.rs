//! Cgroups of containers, where the machine lets us make them: limits, and a list of everything to kill.
//!
//! On pure version 2 one directory does it all. On version 1 there is one per controller; of those we use memory, cpu
//! and pids. On neither, or where they cannot be written, containers run without limits.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::alive;
use super::layout::CgroupSeat;
use crate::runtime::{Limits, PodUsage};

/// Under this name in every hierarchy, beside the agent's own cgroup.
const PARENT: &str = "backstay";
/// The kernel's default period of CPU limits, in microseconds.
const CPU_PERIOD: u64 = 100_000;

/// Whoever starts processes faster than they are killed is given up on after two seconds.
const KILL_ROUNDS_MAX: u32 = 1000;
const KILL_ROUND: Duration = Duration::from_millis(2);

/// The hierarchies that we would use; whether they can be written shows when a container needs them.
#[derive(Clone, Debug, Default)]
pub(super) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

#[derive(Clone, Debug)]
struct Hierarchy {
    /// Version 1: one of `memory`, `cpu`, `pids`. Version 2: empty.
    controller: &'static str,
    /// The cgroup of the agent.
    home: PathBuf,
    parent: PathBuf,
}

impl Cgroups {
    /// Finds out what this machine has. `name` keeps two agents on one machine apart.
    pub(super) fn detect(name: &str) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let found = find(&own, &mounts).into_iter().map(|(controller, root, path)| {
            let home = join(&root, &path);
            // Version 2 forbids processes beside child cgroups with controllers, so the parent stands at the root.
            let parent = if controller.is_empty() { root.join(PARENT) } else { home.join(PARENT) };
            Hierarchy { controller, home, parent: parent.join(name) }
        });
        Self { hierarchies: found.collect() }
    }

    /// Makes the cgroups of one container, with its limits. One that cannot be made is left out.
    pub(super) fn make(&self, name: &str, limits: Limits) -> Vec<CgroupSeat> {
        let made = self.hierarchies.iter().filter_map(|hierarchy| {
            let dir = hierarchy.parent.join(name);
            fs::create_dir_all(&hierarchy.parent).ok()?;
            if hierarchy.controller.is_empty() {
                enable_controllers(&hierarchy.parent);
            }
            fs::create_dir_all(&dir).ok()?;
            for (file, value) in hierarchy.settings(limits) {
                if let Err(error) = fs::write(dir.join(file), &value) {
                    tracing::warn!(cgroup = %dir.display(), file, value, %error, "limit not set");
                }
            }
            Some(CgroupSeat { dir, home: hierarchy.home.clone() })
        });
        made.collect()
    }

    /// Our own directories, once no container is left in them.
    pub(super) fn remove_if_unused(&self) {
        for hierarchy in &self.hierarchies {
            let _ = fs::remove_dir(&hierarchy.parent);
            let _ = hierarchy.parent.parent().map(fs::remove_dir);
        }
    }
}

impl Hierarchy {
    fn settings(&self, limits: Limits) -> Vec<(&'static str, String)> {
        let quota = limits.cpu_millis.map(|millis| (millis * CPU_PERIOD / 1000).max(1000));
        let memory = limits.memory_bytes.map(|bytes| bytes.to_string());
        let mut settings = Vec::new();
        match self.controller {
            "memory" => settings.extend(memory.map(|bytes| ("memory.limit_in_bytes", bytes))),
            "cpu" => {
                settings.extend(quota.map(|quota| ("cpu.cfs_quota_us", quota.to_string())));
                let shares = limits.cpu_request_millis.map(|millis| (millis * 1024 / 1000).max(2));
                settings.extend(shares.map(|shares| ("cpu.shares", shares.to_string())));
            }
            "" => {
                settings.extend(memory.map(|bytes| ("memory.max", bytes)));
                settings.extend(quota.map(|quota| ("cpu.max", format!("{quota} {CPU_PERIOD}"))));
                let weight = limits.cpu_request_millis.map(|millis| (millis * 100 / 1000).clamp(1, 10_000));
                settings.extend(weight.map(|weight| ("cpu.weight", weight.to_string())));
            }
            _ => {}
        }
        settings
    }
}

impl CgroupSeat {
    /// Puts this process into the container's cgroup.
    pub(super) fn take(&self) -> io::Result<()> {
        fs::write(self.dir.join("cgroup.procs"), "0")
    }

    /// Puts this process back into the agent's cgroup; if that fails it is just accounted to the container.
    pub(super) fn leave(&self) {
        let _ = fs::write(self.home.join("cgroup.procs"), "0");
    }

    /// Kills everything in it but ourselves, and what that starts meanwhile.
    pub(super) fn kill_all(&self) {
        let own = std::process::id() as i32;
        for _ in 0..KILL_ROUNDS_MAX {
            let procs = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
            let pids: Vec<i32> = procs.lines().filter_map(|line| line.parse().ok()).collect();
            if !pids.contains(&own) && !pids.is_empty() && fs::write(self.dir.join("cgroup.kill"), "1").is_ok() {
                return;
            }
            if pids.iter().filter(|pid| **pid != own).filter(|pid| alive::kill(**pid)).count() == 0 {
                return;
            }
            // The killed need a moment to die; there is nothing to wait on for those who are not our children.
            std::thread::sleep(KILL_ROUND);
        }
    }

    pub(super) fn remove(&self) {
        let _ = fs::remove_dir(&self.dir);
    }
}

/// What the processes of a cgroup use. Memory that only caches files does not count: it can be given back at once.
pub(super) fn usage(seats: &[CgroupSeat]) -> PodUsage {
    let mut usage = PodUsage::default();
    for CgroupSeat { dir, .. } in seats {
        let read = |file: &str| fs::read_to_string(dir.join(file)).ok();
        let number = |file: &str| read(file).and_then(|text| text.trim().parse::<u64>().ok());
        let inactive = |name: &str| {
            let stat = read("memory.stat")?;
            stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        if let Some(bytes) = number("memory.current") {
            usage.memory_bytes += bytes.saturating_sub(inactive("inactive_file ").unwrap_or(0));
        } else if let Some(bytes) = number("memory.usage_in_bytes") {
            usage.memory_bytes += bytes.saturating_sub(inactive("total_inactive_file ").unwrap_or(0));
        }
        // Version 1 says the same in every hierarchy.
        let processes = read("cgroup.procs").map_or(0, |text| text.lines().count() as u64);
        usage.processes = usage.processes.max(processes);
    }
    usage
}

/// How many processes the kernel has killed here for want of memory.
pub(super) fn oom_kills(dir: &Path) -> u64 {
    let count = |file: &str| {
        let text = fs::read_to_string(dir.join(file)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
        line.trim().parse().ok()
    };
    count("memory.events").or_else(|| count("memory.oom_control")).unwrap_or(0)
}

/// The usable hierarchies: controller (empty: version 2), mount point, path of our own cgroup in it.
fn find(own: &str, mounts: &str) -> Vec<(&'static str, PathBuf, String)> {
    let path_of = |controller: &str| {
        own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|name| name == controller).then(|| path.to_string())
        })
    };
    let unified = mount_points(mounts, "cgroup2", |_| true).into_iter().next();
    if let (Some(root), Some(path)) = (unified, path_of(""))
        && fs::read_to_string(root.join("cgroup.controllers")).is_ok_and(|list| list.contains("memory"))
    {
        return vec![("", root, path)];
    }
    let version_1 = ["memory", "cpu", "pids"].into_iter().filter_map(|controller| {
        let named = |options: &str| options.split(',').any(|option| option == controller);
        let root = mount_points(mounts, "cgroup", named).into_iter().next()?;
        Some((controller, root, path_of(controller)?))
    });
    version_1.collect()
}

fn mount_points(mounts: &str, kind: &str, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let point = |line: &str| {
        let (place, device) = line.split_once(" - ")?;
        let mut device = device.split(' ');
        let (fs, options) = (device.next()?, device.nth(1)?);
        (fs == kind && wanted(options)).then(|| place.split(' ').nth(4).map(PathBuf::from))?
    };
    mounts.lines().filter_map(point).collect()
}

fn join(root: &Path, path: &str) -> PathBuf {
    let inner = root.join(path.trim_start_matches('/'));
    // In a container the path may lead outside of what is mounted.
    if inner.is_dir() { inner } else { root.to_path_buf() }
}

/// Version 2: children get only the controllers that every parent passes on.
fn enable_controllers(parent: &Path) {
    let chain: Vec<&Path> = parent.ancestors().take(3).collect();
    for dir in chain.iter().rev() {
        for controller in ["+memory", "+cpu", "+pids"] {
            let _ = fs::write(dir.join("cgroup.subtree_control"), controller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_hierarchies_are_found_by_controller() {
        let own = "4:memory:/a\n2:cpu,cpuacct:/\n0::/\n";
        let mounts = "30 25 0:26 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n\
            31 25 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
        let found = find(own, mounts);
        let expected = [("memory", "/sys/fs/cgroup/memory", "/a"), ("cpu", "/sys/fs/cgroup/cpu", "/")];
        assert_eq!(found, expected.map(|(controller, root, path)| (controller, PathBuf::from(root), path.to_string())));
    }
}
