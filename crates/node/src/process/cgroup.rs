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

/// Others come and go, but not this often at once.
const MAKE_ATTEMPTS: u32 = 100;
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

/// One limit, and the file that it is written to.
struct Setting<'a> {
    /// `None`: this machine does not have it.
    hierarchy: Option<&'a Hierarchy>,
    file: &'static str,
    value: String,
    /// The others only make things better.
    must_hold: bool,
}

/// What has come of a container's cgroups.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) seats: Vec<CgroupSeat>,
    /// Limits that do not hold, and why.
    pub(super) missing: Vec<String>,
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
    pub(super) fn make(&self, name: &str, limits: Limits) -> Made {
        let mut made = Made::default();
        for hierarchy in &self.hierarchies {
            let dir = hierarchy.parent.join(name);
            match hierarchy.make(&dir) {
                Ok(()) => made.seats.push(CgroupSeat { dir, home: hierarchy.home.clone() }),
                Err(error) => {
                    tracing::warn!(cgroup = %dir.display(), %error, "cgroup not made");
                    continue;
                }
            }
        }
        for setting in Self::settings(&self.hierarchies, limits) {
            let seat = setting.hierarchy.map(|hierarchy| hierarchy.parent.join(name));
            let seat = seat.filter(|dir| made.seats.iter().any(|seat| seat.dir == *dir));
            let written = match &seat {
                Some(dir) => fs::write(dir.join(setting.file), &setting.value).map_err(|error| error.to_string()),
                None => Err("this machine has no cgroup for it that can be written".to_string()),
            };
            if let (Err(error), true) = (written, setting.must_hold) {
                made.missing.push(format!("{} cannot be set to {}: {error}", setting.file, setting.value));
            }
        }
        made
    }

    /// What is to be written where.
    fn settings(hierarchies: &[Hierarchy], limits: Limits) -> Vec<Setting<'_>> {
        let find = |controller: &str| hierarchies.iter().find(|it| it.controller == controller);
        let unified = find("");
        let quota = limits.cpu_millis.map(|millis| (millis * CPU_PERIOD / 1000).max(1000));
        let set = |hierarchy, file, value: Option<String>, must_hold| {
            value.map(|value| Setting { hierarchy, file, value, must_hold })
        };
        let bytes = limits.memory_bytes.map(|bytes| bytes.to_string());
        let limited = |value: &str| bytes.as_ref().map(|_| value.to_string());
        let all = if unified.is_some() {
            let weight = limits.cpu_request_millis.map(|millis| (millis * 100 / 1000).clamp(1, 10_000).to_string());
            vec![
                set(unified, "memory.max", bytes.clone(), true),
                // As a kubelet has it: no swap, and all of the container goes if one of its processes has to.
                set(unified, "memory.swap.max", limited("0"), false),
                set(unified, "memory.oom.group", limited("1"), false),
                set(unified, "cpu.max", quota.map(|quota| format!("{quota} {CPU_PERIOD}")), true),
                set(unified, "cpu.weight", weight, false),
            ]
        } else {
            let shares = limits.cpu_request_millis.map(|millis| (millis * 1024 / 1000).max(2).to_string());
            vec![
                set(find("memory"), "memory.limit_in_bytes", bytes, true),
                set(find("cpu"), "cpu.cfs_quota_us", quota.map(|quota| quota.to_string()), true),
                set(find("cpu"), "cpu.shares", shares, false),
            ]
        };
        all.into_iter().flatten().collect()
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
    fn make(&self, dir: &Path) -> io::Result<()> {
        let make = || fs::create_dir_all(&self.parent).and_then(|()| fs::create_dir_all(dir));
        let mut made = make();
        for _ in 1..MAKE_ATTEMPTS {
            match &made {
                Err(error) if is_passing(error) => made = make(),
                _ => break,
            }
        }
        if self.controller.is_empty() && made.is_ok() {
            enable_controllers(&self.parent);
        }
        made
    }
}

/// Whoever removes what they no longer need, on their way out, may take a parent away in between: before something is
/// made in it, after it was seen to be there already, or (ENODEV) while the kernel ends it.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, NotFound};
    matches!(error.kind(), NotFound | AlreadyExists) || error.raw_os_error() == Some(libc::ENODEV)
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

    /// Removes it once nobody is in it any more.
    pub fn remove(&self) {
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

    /// Directories that look like those of a kernel, at which files may be looked at afterwards.
    fn cgroups(root: &Path, controller: &'static str, name: &str) -> Cgroups {
        let parent = root.join(PARENT).join(name);
        Cgroups { hierarchies: vec![Hierarchy { controller, home: root.into(), parent }] }
    }

    #[test]
    fn agents_that_leave_do_not_take_the_limits_of_others_away() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for agent in 0..4 {
                let name = format!("agent{agent}");
                let own = cgroups(dir.path(), "memory", &name);
                scope.spawn(move || {
                    for round in 0..1_000 {
                        let [hierarchy] = &own.hierarchies[..] else { unreachable!() };
                        let container = hierarchy.parent.join("c");
                        let made = hierarchy.make(&container);
                        assert!(made.is_ok(), "{name}, round {round}: {made:?}");
                        fs::remove_dir(&container).unwrap();
                        own.remove_if_unused();
                    }
                });
            }
        });
    }

    fn check(controllers: &[&'static str], limits: Limits, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let all = controllers.iter().flat_map(|it| cgroups(&dir.path().join(it), it, "agent").hierarchies);
        let made = Cgroups { hierarchies: all.collect() }.make("c", limits);
        let files = made
            .seats
            .iter()
            .flat_map(|seat| fs::read_dir(&seat.dir).unwrap().flatten())
            .map(|file| format!("{}={}", file.file_name().display(), fs::read_to_string(file.path()).unwrap()));
        let mut shown: Vec<String> = files.chain(made.missing.iter().map(|it| format!("MISSING {it}"))).collect();
        shown.sort();
        assert_eq!(shown.join("; "), expected, "{controllers:?} {limits:?}");
    }

    #[test]
    fn limits_are_written_where_each_version_has_them() {
        let none = Limits::default();
        let some = Limits { memory_bytes: Some(16 << 20), cpu_millis: Some(500), cpu_request_millis: Some(250) };
        check(&["memory", "cpu", "pids"], none, "");
        check(&[""], none, "");
        let version_1 = "cpu.cfs_quota_us=50000; cpu.shares=256; memory.limit_in_bytes=16777216";
        check(&["memory", "cpu", "pids"], some, version_1);
        let version_2 =
            "cpu.max=50000 100000; cpu.weight=25; memory.max=16777216; memory.oom.group=1; memory.swap.max=0";
        check(&[""], some, version_2);
        let tiny = Limits { cpu_millis: Some(1), cpu_request_millis: Some(1), ..none };
        check(&["cpu"], tiny, "cpu.cfs_quota_us=1000; cpu.shares=2");
        check(&[""], tiny, "cpu.max=1000 100000; cpu.weight=1");
        let missing = "MISSING memory.limit_in_bytes cannot be set to 5: this machine has no cgroup for it that can be \
            written";
        check(&["cpu"], Limits { memory_bytes: Some(5), ..none }, missing);
    }

    #[test]
    fn version_2_passes_its_controllers_on() {
        let dir = tempfile::tempdir().unwrap();
        let own = cgroups(dir.path(), "", "agent");
        own.make("c", Limits::default());
        for level in ["", "backstay", "backstay/agent"] {
            let file = dir.path().join(level).join("cgroup.subtree_control");
            assert!(file.exists(), "{}", file.display());
        }
        assert!(!dir.path().join("backstay/agent/c/cgroup.subtree_control").exists(), "the container's own");
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory pids").unwrap();
        let mounts = format!("31 23 0:28 / {} rw - cgroup2 cgroup2 rw\n", dir.path().display());
        let found = find("0::/a\n", &mounts);
        assert_eq!(found, [("", dir.path().to_path_buf(), "/a".to_string())]);
        fs::write(dir.path().join("cgroup.controllers"), "hugetlb").unwrap();
        assert_eq!(find("0::/a\n", &mounts), [], "one that controls nothing of ours is not it");
    }

    #[test]
    fn kills_for_want_of_memory_are_counted() {
        let check = |file: &str, text: &str, expected: u64| {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(file), text).unwrap();
            assert_eq!(oom_kills(dir.path()), expected, "{file} {text}");
        };
        check("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", 2);
        check("memory.events", "low 0\nhigh 0\nmax 9\noom 3\noom_kill 1\noom_group_kill 1\n", 1);
        check("memory.events", "oom 3\n", 0);
        check("cgroup.procs", "1\n", 0);
    }

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
