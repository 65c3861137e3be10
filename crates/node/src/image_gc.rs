//! Which images go when the disk they lie on fills up.
//!
//! Source of thresholds and order: the kubelet's image garbage collector, with its defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::runtime::{DiskUsage, StoredImage};
use crate::wait;

/// Cleaning begins when more than this percentage is used, and ends at the lower one.
const HIGH_PERCENT: u64 = 85;
const LOW_PERCENT: u64 = 80;
/// An image that has only just come stays: somebody wanted it.
const AGE_MIN: Duration = Duration::from_secs(2 * 60);

/// When each image was first seen, and last seen in use, by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History(BTreeMap<String, (Timestamp, Option<Timestamp>)>);

/// The ids of the images to remove, in order. `in_use`: ids and names that containers of this node run from.
/// `all`: remove whatever is not in use, since the node is short of disk.
pub fn plan(
    history: &mut History,
    images: &[StoredImage],
    in_use: &BTreeSet<String>,
    disk: DiskUsage,
    all: bool,
    now: Timestamp,
) -> Vec<String> {
    let used = |image: &StoredImage| in_use.contains(&image.id) || image.names.iter().any(|name| in_use.contains(name));
    history.0.retain(|id, _| images.iter().any(|image| image.id == *id));
    for image in images {
        let seen = history.0.entry(image.id.clone()).or_insert((now, None));
        if used(image) {
            seen.1 = Some(now);
        }
    }
    let percent = |percent: u64| disk.capacity_bytes / 100 * percent;
    let mut to_free = if all {
        u64::MAX
    } else if disk.used_bytes > percent(HIGH_PERCENT) {
        disk.used_bytes - percent(LOW_PERCENT)
    } else {
        0
    };
    let mut unused: Vec<(Option<Timestamp>, Timestamp, &StoredImage)> = images
        .iter()
        .filter(|image| !image.pinned && !used(image))
        .filter_map(|image| history.0.get(&image.id).map(|(first, last)| (*last, *first, image)))
        .filter(|(_, first, _)| wait::is_over(*first, AGE_MIN, now))
        .collect();
    unused.sort_by(|left, right| (left.0, left.1, &left.2.id).cmp(&(right.0, right.1, &right.2.id)));
    let mut removed = Vec::new();
    for (_, _, image) in unused {
        if to_free == 0 {
            break;
        }
        removed.push(image.id.clone());
        to_free = to_free.saturating_sub(freed(image, images, &removed));
    }
    removed
}

/// What goes with an image, in bytes: parts that it shares go with the last one that has them.
fn freed(image: &StoredImage, images: &[StoredImage], removed: &[String]) -> u64 {
    if image.parts.is_empty() {
        return image.size_bytes;
    }
    let stays = |part: &String| images.iter().any(|it| !removed.contains(&it.id) && it.parts.contains_key(part));
    image.parts.iter().filter(|(part, _)| !stays(part)).map(|(_, bytes)| bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn image(id: &str, size_bytes: u64) -> StoredImage {
        let names = vec![format!("{id}:v1")];
        StoredImage { id: id.into(), names, size_bytes, pinned: id == "pause", ..StoredImage::default() }
    }

    fn check(used_percent: u64, in_use: &[&str], all: bool, expected: &[&str]) {
        let images = [image("a", 3), image("b", 4), image("pause", 50), image("c", 5)];
        let mut history = History::default();
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
        let disk = |used_bytes| DiskUsage { used_bytes, capacity_bytes: 100 };
        // `a` was in use later than `b`, and `c` never.
        assert!(plan(&mut history, &images, &names(&["a", "b"]), disk(0), all, at(0)).is_empty(), "too young");
        assert!(plan(&mut history, &images, &names(&["a"]), disk(0), false, at(100)).is_empty());
        let seen = plan(&mut history, &images, &names(in_use), disk(used_percent), all, at(200));
        assert_eq!(seen, expected, "{used_percent} % {in_use:?} {all}");
    }

    #[test]
    fn the_longest_unused_go_first() {
        check(85, &[], false, &[]);
        check(86, &[], false, &["c", "b"]);
        check(90, &[], false, &["c", "b", "a"]);
        check(90, &["b:v1"], false, &["c", "a"]);
        check(10, &["a"], true, &["c", "b"]);
    }

    #[test]
    fn what_images_share_is_freed_once() {
        let check = |used_percent: u64, expected: &[&str]| {
            let made_of = |id: &str, parts: &[(&str, u64)]| StoredImage {
                parts: parts.iter().map(|(name, bytes)| (name.to_string(), *bytes)).collect(),
                ..image(id, parts.iter().map(|(_, bytes)| bytes).sum())
            };
            let images = [
                made_of("a", &[("base", 6), ("a", 1)]),
                made_of("b", &[("base", 6), ("b", 1)]),
                made_of("c", &[("c", 20)]),
            ];
            let (mut history, disk) = (History::default(), DiskUsage { used_bytes: used_percent, capacity_bytes: 100 });
            plan(&mut history, &images, &BTreeSet::new(), disk, false, at(0));
            assert_eq!(plan(&mut history, &images, &BTreeSet::new(), disk, false, at(200)), expected, "{used_percent}");
        };
        check(86, &["a", "b"]);
        check(88, &["a", "b"]);
        check(89, &["a", "b", "c"]);
    }
}
