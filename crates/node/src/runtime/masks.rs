//! What containers may not see, or may not change, of a machine's `/proc` and `/sys`, unless they are privileged or their
//! `procMount` is `Unmasked`. Source: the kubelet's defaults in Kubernetes 1.36, and those of containerd 2.

use std::path::{Path, PathBuf};

/// Hidden. What a machine does not have need not be.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// To be looked at only.
pub const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// All that is hidden on this machine.
pub fn masked_paths() -> Vec<PathBuf> {
    masked(Path::new("/sys/devices/system/cpu"))
}

/// Of each processor, how often it got too hot: with `interrupts`, it tells what others compute.
fn masked(processors: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(processors).into_iter().flatten().flatten();
    let is_processor = |name: &str| {
        let number = name.strip_prefix("cpu").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let processors = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_processor));
    let heat = processors.map(|entry| entry.path().join("thermal_throttle")).filter(|path| path.exists());
    let mut heat: Vec<PathBuf> = heat.collect();
    heat.sort();
    MASKED.iter().map(PathBuf::from).chain(heat).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_processor_tells_is_hidden() {
        let dir = tempfile::tempdir().unwrap();
        for there in ["cpu0/thermal_throttle", "cpu10/thermal_throttle", "cpu1", "cpufreq/thermal_throttle"] {
            std::fs::create_dir_all(dir.path().join(there)).unwrap();
        }
        let found = masked(dir.path());
        let (known, heat) = found.split_at(MASKED.len());
        assert_eq!(known, MASKED.map(PathBuf::from));
        assert_eq!(heat, ["cpu0", "cpu10"].map(|name| dir.path().join(name).join("thermal_throttle")));
    }
}
