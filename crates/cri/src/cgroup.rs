//! The cgroups of pods, above those of their containers: a runtime makes and removes only the latter.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backstay_node::runtime::{PodLimits, Qos};

use crate::request::{CPU_PERIOD, quota, shares};

/// A second in all: the kernel tells nobody when a cgroup becomes free.
const REMOVALS_MAX: u32 = 50;
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);

/// Who makes cgroups, which decides how they are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Cgroupfs,
    Systemd,
}

/// The cgroups of all pods of one agent.
#[derive(Clone, Debug)]
pub struct PodCgroups {
    driver: Driver,
    /// Of the one above all.
    name: String,
    hierarchies: Vec<Hierarchy>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Of version 1, separated by commas; version 2: empty.
    controllers: String,
    root: PathBuf,
}

impl PodCgroups {
    pub fn detect(driver: Driver, name: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self { driver, name: name.to_string(), hierarchies: hierarchies(&mounts) }
    }

    /// As the runtime wants to be told. `uid`: of a pod.
    pub fn parent(&self, qos: Qos, uid: &str) -> String {
        let class = match qos {
            Qos::Guaranteed => None,
            Qos::Burstable => Some("burstable"),
            Qos::BestEffort => Some("besteffort"),
        };
        match self.driver {
            Driver::Cgroupfs => {
                let class = class.map(|class| format!("/{class}")).unwrap_or_default();
                format!("/{}{class}/pod{uid}", self.name)
            }
            // Hyphens separate the levels there.
            Driver::Systemd => {
                let class = class.map(|class| format!("-{class}")).unwrap_or_default();
                format!("{}{class}-pod{}.slice", self.name.replace('-', "_"), uid.replace('-', "_"))
            }
        }
    }

    /// Below each hierarchy.
    fn path(&self, qos: Qos, uid: &str) -> PathBuf {
        let parent = self.parent(qos, uid);
        if self.driver == Driver::Cgroupfs {
            return parent.trim_start_matches('/').into();
        }
        // `a-b-c.slice` lies in `a.slice/a-b.slice`.
        let name = parent.trim_end_matches(".slice");
        let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
        ends.map(|end| format!("{}.slice", &name[..end])).collect()
    }

    /// Limits the pod as a whole. What cannot be written is no limit; systemd alone may make its slices, so there the
    /// limits of containers have to do.
    pub fn make(&self, qos: Qos, uid: &str, limits: &PodLimits) {
        if self.driver == Driver::Systemd {
            return;
        }
        for hierarchy in &self.hierarchies {
            let settings = hierarchy.settings(limits);
            if settings.is_empty() {
                continue;
            }
            let dir = hierarchy.root.join(self.path(qos, uid));
            if let Err(error) = fs::create_dir_all(&dir) {
                tracing::warn!(cgroup = %dir.display(), %error, "a pod runs without limits of its own");
                continue;
            }
            for (file, value) in settings {
                if let Err(error) = fs::write(dir.join(file), &value) {
                    tracing::warn!(cgroup = %dir.display(), file, value, %error, "limit of a pod not set");
                }
            }
        }
    }

    /// Removes what is left of a pod that no longer runs. The kernel lets go of processes a moment after they have ended;
    /// what is busy for longer than that stays.
    pub async fn remove(&self, uid: &str) {
        for _ in 0..REMOVALS_MAX {
            let left = self.left(uid);
            if left.is_empty() {
                return;
            }
            left.iter().for_each(|dir| remove_tree(dir));
            tokio::time::sleep(REMOVAL_PAUSE).await;
        }
        tracing::warn!(%uid, "the cgroup of a pod that is gone is still busy");
    }

    fn left(&self, uid: &str) -> Vec<PathBuf> {
        let classes = [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort];
        let of = |hierarchy: &Hierarchy| classes.map(|qos| hierarchy.root.join(self.path(qos, uid)));
        self.hierarchies.iter().flat_map(of).filter(|dir| dir.exists()).collect()
    }

    /// The one above all, once no pod is left in it.
    pub fn remove_if_unused(&self) {
        let top = match self.driver {
            Driver::Cgroupfs => self.name.clone(),
            Driver::Systemd => return,
        };
        for hierarchy in &self.hierarchies {
            let dir = hierarchy.root.join(&top);
            for class in ["burstable", "besteffort"] {
                let _ = fs::remove_dir(dir.join(class));
            }
            let _ = fs::remove_dir(dir);
        }
    }

    /// How many processes a pod has.
    pub fn processes(&self, uid: &str) -> u64 {
        let found = self.hierarchies.iter().map(|hierarchy| {
            let of = |qos| count(&hierarchy.root.join(self.path(qos, uid)));
            [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort].into_iter().map(of).sum()
        });
        // Version 1 says the same in every hierarchy.
        found.max().unwrap_or(0)
    }
}

impl Hierarchy {
    fn settings(&self, limits: &PodLimits) -> Vec<(&'static str, String)> {
        let has = |controller: &str| self.controllers.split(',').any(|one| one == controller);
        let memory = limits.memory_bytes.map(|bytes| bytes.to_string());
        let quota = limits.cpu_millis.map(quota);
        let mut settings = Vec::new();
        if self.controllers.is_empty() {
            settings.extend(memory.map(|bytes| ("memory.max", bytes)));
            settings.extend(quota.map(|quota| ("cpu.max", format!("{quota} {CPU_PERIOD}"))));
            return settings;
        }
        if has("memory") {
            settings.extend(memory.map(|bytes| ("memory.limit_in_bytes", bytes)));
        }
        if has("cpu") {
            settings.push(("cpu.shares", shares(limits.cpu_request_millis).to_string()));
            settings.extend(quota.map(|quota| ("cpu.cfs_quota_us", quota.to_string())));
        }
        settings
    }
}

fn hierarchies(mounts: &str) -> Vec<Hierarchy> {
    const VERSION_1: [&str; 12] = [
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
    ];
    let of = |line: &str| {
        let (place, device) = line.split_once(" - ")?;
        let root = PathBuf::from(place.split(' ').nth(4)?);
        let mut device = device.split(' ');
        match (device.next()?, device.nth(1)?) {
            ("cgroup2", _) => Some(Hierarchy { controllers: String::new(), root }),
            ("cgroup", options) => {
                let own = options.split(',').filter(|option| VERSION_1.contains(option) || option.starts_with("name="));
                let controllers = own.collect::<Vec<_>>().join(",");
                (!controllers.is_empty()).then_some(Hierarchy { controllers, root })
            }
            _ => None,
        }
    };
    let mut found: Vec<Hierarchy> = mounts.lines().filter_map(of).collect();
    // Beside version 1, version 2 has no controllers of use; runtimes make their cgroups there all the same.
    if found.iter().any(|one| !one.controllers.is_empty()) {
        for unified in found.iter_mut().filter(|one| one.controllers.is_empty()) {
            unified.controllers = "name=unified".to_string();
        }
    }
    found
}

fn remove_tree(dir: &Path) {
    for child in fs::read_dir(dir).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&child.path());
        }
    }
    // Not there, or not empty: then it is not ours to remove.
    let _ = fs::remove_dir(dir);
}

fn count(dir: &Path) -> u64 {
    let own = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines().count() as u64;
    let children = fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir()));
    own + dirs.map(|child| count(&child.path())).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(driver: Driver, qos: Qos, parent: &str, path: &str) {
        let cgroups = PodCgroups { driver, name: "kubepods".into(), hierarchies: Vec::new() };
        assert_eq!(cgroups.parent(qos, "a-b"), parent);
        assert_eq!(cgroups.path(qos, "a-b"), Path::new(path));
    }

    #[test]
    fn names() {
        check(Driver::Cgroupfs, Qos::BestEffort, "/kubepods/besteffort/poda-b", "kubepods/besteffort/poda-b");
        check(Driver::Cgroupfs, Qos::Burstable, "/kubepods/burstable/poda-b", "kubepods/burstable/poda-b");
        check(Driver::Cgroupfs, Qos::Guaranteed, "/kubepods/poda-b", "kubepods/poda-b");
        check(
            Driver::Systemd,
            Qos::BestEffort,
            "kubepods-besteffort-poda_b.slice",
            "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-poda_b.slice",
        );
        check(Driver::Systemd, Qos::Guaranteed, "kubepods-poda_b.slice", "kubepods.slice/kubepods-poda_b.slice");
    }

    #[test]
    fn hierarchies_of_both_versions() {
        let v1 = "30 25 0:26 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n\
            31 25 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
        let v2 = "32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n";
        let named = |found: Vec<Hierarchy>| found.into_iter().map(|one| one.controllers).collect::<Vec<_>>();
        assert_eq!(named(hierarchies(&format!("{v2}{v1}"))), ["name=unified", "memory", "cpu,cpuacct"]);
        assert_eq!(named(hierarchies(v2)), [""]);
    }
}
