//! How a simulated pod behaves, by its annotation `sim.backstay.dev/behavior`.

use std::time::Duration;

/// The annotation: a comma-separated list of `ready-after=2s`, `crash`, `never-ready`, `pull-error`,
/// `on=NODE|NODE` and `ratio=0.2`. What is not understood is ignored.
pub const ANNOTATION: &str = "sim.backstay.dev/behavior";

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behavior {
    /// How long after its start a container becomes ready.
    pub ready_after: Duration,
    pub fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Exits with code 1 as soon as it has started.
    Crash,
    NeverReady,
    /// The image cannot be pulled.
    PullError,
}

impl Behavior {
    /// What the annotation means on this node: `on=` and `ratio=` say where the rest of the list holds; elsewhere pods
    /// behave well.
    pub fn read(annotation: &str, node: &str) -> Self {
        let mut behavior = Self::default();
        for item in annotation.split(',').map(str::trim) {
            let (name, value) = item.split_once('=').map_or((item, ""), |(name, value)| (name.trim(), value.trim()));
            match name {
                "ready-after" => behavior.ready_after = duration(value).unwrap_or_default(),
                "crash" => behavior.fault = Some(Fault::Crash),
                "never-ready" => behavior.fault = Some(Fault::NeverReady),
                "pull-error" => behavior.fault = Some(Fault::PullError),
                "on" if !value.split('|').any(|name| name.trim() == node) => return Self::default(),
                "ratio" if !chosen(node, value.parse().unwrap_or(1.0)) => return Self::default(),
                _ => {}
            }
        }
        behavior
    }
}

/// Whether a node is among this part of all nodes: always the same ones, and those of a smaller part among those of a
/// larger.
fn chosen(node: &str, ratio: f64) -> bool {
    let place = (hash(node) >> 11) as f64 / (1u64 << 53) as f64;
    place < ratio
}

/// FNV-1a, then a mix that spreads names differing in their last digit only. Stable for ever: rehearsals rely on it.
pub(crate) fn hash(text: &str) -> u64 {
    let fnv = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// `500ms`, `2s`, `1m`, `1h`; fractions are allowed.
fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_read() {
        let fault = |fault| Behavior { fault: Some(fault), ..Behavior::default() };
        let after = |millis| Behavior { ready_after: Duration::from_millis(millis), ..Behavior::default() };
        for (annotation, expected) in [
            ("", Behavior::default()),
            ("crash", fault(Fault::Crash)),
            (" never-ready ", fault(Fault::NeverReady)),
            ("pull-error,on=sim-00001|sim-00000", fault(Fault::PullError)),
            ("pull-error,on=sim-00001", Behavior::default()),
            ("on=sim-00001,pull-error", Behavior::default()),
            ("crash,ratio=1", fault(Fault::Crash)),
            ("crash,ratio=0", Behavior::default()),
            ("ready-after=2s", after(2000)),
            ("ready-after=1.5m", after(90_000)),
            ("ready-after=300ms", after(300)),
            ("ready-after=soon,what=ever", Behavior::default()),
        ] {
            assert_eq!(Behavior::read(annotation, "sim-00000"), expected, "{annotation}");
        }
    }

    #[test]
    fn a_fifth_is_about_a_fifth_and_always_the_same() {
        let names: Vec<String> = (0..1000).map(|index| format!("sim-{index:05}")).collect();
        let fifth: Vec<&String> = names.iter().filter(|name| chosen(name, 0.2)).collect();
        assert!((150..250).contains(&fifth.len()), "{}", fifth.len());
        assert!(fifth.iter().all(|name| chosen(name, 0.4)));
    }
}
