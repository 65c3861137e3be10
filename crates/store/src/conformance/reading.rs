//! Reading: order, ranges, pages, and snapshots that stay as they were.

use super::{Scene, names, pod, value};
use crate::{Entry, Field, Key, Range, Store, StoreError};

pub async fn order_is_namespace_then_name<S: Store>(scene: &Scene<S>) {
    // As plain text "a-b/..." sorts before "a/...": namespaces must be compared as a whole.
    let keys = [("ab", "a"), ("a", "z"), ("a-b", "m"), ("a", "b-c"), ("a", "b"), ("a.b", "a"), ("", "root")];
    scene.create_all(&keys.map(|(namespace, name)| pod(namespace, name))).await;
    let listed = names(&scene.store.snapshot().list(&Range::all("pods"), None, 0));
    assert_eq!(listed, ["/root", "a/b", "a/b-c", "a/z", "a-b/m", "a.b/a", "ab/a"]);
}

pub async fn ranges<S: Store>(scene: &Scene<S>) {
    let keys = [pod("a", "x"), pod("a", "y"), pod("a-b", "x"), pod("ab", "x"), Key::new("pod", "a", "x")];
    scene.create_all(&keys).await;
    scene.create_all(&[Key::new("podss", "a", "x"), Key::new("apps/daemonsets", "a", "x")]).await;
    let snapshot = scene.store.snapshot();
    let check = |range: Range, expected: &[&str]| {
        assert_eq!(names(&snapshot.list(&range, None, 0)), expected, "{range:?}");
        assert_eq!(snapshot.count(&range), expected.len(), "{range:?}");
    };
    check(Range::all("pods"), &["a/x", "a/y", "a-b/x", "ab/x"]);
    check(Range::within("pods", "a"), &["a/x", "a/y"]);
    check(Range::within("pods", "a-b"), &["a-b/x"]);
    check(Range::within("pods", "b"), &[]);
    check(Range::within("pods", ""), &[]);
    check(Range::one(&pod("a", "y")), &["a/y"]);
    check(Range::one(&pod("a", "z")), &[]);
    check(Range { namespace: None, ..Range::one(&pod("", "x")) }, &["a/x", "a-b/x", "ab/x"]);
    check(Range::all("nothing"), &[]);
    assert!(snapshot.get(&pod("a", "q")).is_none());
    assert!(snapshot.get(&Key::new("nothing", "a", "x")).is_none());
}

/// `spec.nodeName` of pods has an index, `status.phase` has none: nobody can tell.
pub async fn by_field<S: Store>(scene: &Scene<S>) {
    let place = [("a", "x", "n1"), ("a", "y", "n2"), ("b", "x", "n1"), ("b", "z", "n1"), ("c", "x", "")];
    let mut revisions = Vec::new();
    for (namespace, name, node) in place {
        revisions.push(scene.create(&pod(namespace, name), node).await.expect("create").revision);
    }
    scene.create(&Key::new("configmaps", "a", "x"), "n1").await.expect("create");
    let before = scene.store.snapshot();
    scene.update(&pod("a", "x"), "n2", revisions[0]).await.expect("update");
    scene.delete(&pod("b", "x"), revisions[2]).await.expect("delete");
    let now = scene.store.snapshot();
    let check = |range: Range, expected_before: &[&str], expected: &[&str]| {
        for field in ["spec.nodeName", "status.phase"] {
            let range =
                Range { field: range.field.clone().map(|it| Field { name: field.into(), ..it }), ..range.clone() };
            for (snapshot, expected) in [(&before, expected_before), (&now, expected)] {
                assert_eq!(names(&snapshot.list(&range, None, 0)), expected, "{range:?}");
                assert_eq!(snapshot.count(&range), expected.len(), "{range:?}");
                let first = snapshot.list(&range, None, 1);
                assert_eq!(names(&first), expected[..expected.len().min(1)], "the first of {range:?}");
                let Some(first) = first.first() else { continue };
                assert_eq!(names(&snapshot.list(&range, Some(&first.key), 0)), expected[1..], "the rest of {range:?}");
                assert_eq!(snapshot.count_after(&range, &first.key), expected.len() - 1, "{range:?}");
            }
        }
    };
    check(Range::all("pods").with_field("", "n1"), &["a/x", "b/x", "b/z"], &["b/z"]);
    check(Range::all("pods").with_field("", "n2"), &["a/y"], &["a/x", "a/y"]);
    check(Range::all("pods").with_field("", ""), &["c/x"], &["c/x"]);
    check(Range::all("pods").with_field("", "n"), &[], &[]);
    check(Range::within("pods", "b").with_field("", "n1"), &["b/x", "b/z"], &["b/z"]);
    check(Range::within("pods", "ab").with_field("", "n1"), &[], &[]);
    check(Range::one(&pod("a", "x")).with_field("", "n1"), &["a/x"], &[]);
    check(Range::all("configmaps").with_field("", "n1"), &["a/x"], &["a/x"]);
}

pub async fn pages_cover_everything_once<S: Store>(scene: &Scene<S>) {
    for number in 0..23 {
        let namespace = ["a", "a-b", "ab"][number % 3];
        scene.create_all(&[pod(namespace, &format!("p{number:02}"))]).await;
    }
    let snapshot = scene.store.snapshot();
    for range in [Range::all("pods"), Range::within("pods", "a-b")] {
        let whole = names(&snapshot.list(&range, None, 0));
        for limit in [1, 2, 7, 22, 23, 24] {
            let mut pages = Vec::new();
            let mut after = None;
            loop {
                let page = snapshot.list(&range, after.as_ref(), limit);
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = Some(last.key.clone());
                pages.extend(names(&page));
                let left = snapshot.count_after(&range, &last.key);
                assert_eq!(left, whole.len() - pages.len(), "left after {} of {range:?}", pages.len());
            }
            assert_eq!(pages, whole, "pages of {limit} of {range:?}");
        }
    }
    // Pages of what is wanted are full of it.
    let is_wanted = |entry: &Entry| entry.key.name.ends_with(['1', '4', '7']);
    let range = Range::within("pods", "a-b");
    assert_eq!(names(&snapshot.select(&range, None, 0, &is_wanted)), ["a-b/p01", "a-b/p04", "a-b/p07"]);
    assert_eq!(names(&snapshot.select(&range, None, 2, &is_wanted)), ["a-b/p01", "a-b/p04"]);
    assert_eq!(names(&snapshot.select(&range, Some(&pod("a-b", "p01")), 1, &is_wanted)), ["a-b/p04"]);
    // A page may begin after a key that is gone, or outside the range.
    let rest = names(&snapshot.list(&Range::within("pods", "a-b"), Some(&pod("a-b", "p0")), 2));
    assert_eq!(rest, ["a-b/p01", "a-b/p04"]);
    assert_eq!(snapshot.list(&Range::within("pods", "a-b"), Some(&pod("a", "zz")), 0).len(), 8);
    assert_eq!(snapshot.list(&Range::within("pods", "a-b"), Some(&pod("ab", "")), 0).len(), 0);
}

pub async fn snapshots_never_change<S: Store>(scene: &Scene<S>) {
    let keys: Vec<Key> = (0..40).map(|number| pod("d", &format!("p{number:02}"))).collect();
    scene.create_all(&keys).await;
    let before = scene.store.snapshot();
    let values = |snapshot: &dyn crate::Snapshot| -> Vec<_> {
        snapshot.list(&Range::all("pods"), None, 0).iter().map(|entry| entry.value.clone()).collect()
    };
    let (seen, revision) = (values(&*before), before.revision());
    for (number, key) in keys.iter().enumerate() {
        let expected = before.get(key).expect("created above").revision;
        match number % 3 {
            0 => drop(scene.delete(key, expected).await.expect("delete")),
            1 => drop(scene.update(key, "new", expected).await.expect("update")),
            _ => drop(scene.create(&pod("d", &format!("q{number}")), "new").await.expect("create")),
        }
    }
    assert_eq!(values(&*before), seen, "a snapshot does not see later commits");
    assert_eq!(before.revision(), revision);
    assert_eq!(before.count(&Range::all("pods")), 40);
    assert_ne!(values(&*scene.store.snapshot()), seen);
}

pub async fn kept_snapshots<S: Store>(scene: &Scene<S>) {
    let key = pod("d", "a");
    let first = scene.create(&key, "one").await.expect("create").revision;
    scene.store.keep(scene.store.snapshot());
    let second = scene.update(&key, "two", first).await.expect("update").revision;
    let third = scene.update(&key, "three", second).await.expect("update").revision;

    let old = scene.store.snapshot_at(first).expect("kept");
    assert_eq!((old.revision(), &old.get(&key).expect("was there").value[..]), (first, value("one", first).as_bytes()));
    assert_eq!(scene.store.snapshot_at(third).expect("the newest is always there").revision(), third);
    let not_kept = scene.store.snapshot_at(second).err();
    assert!(matches!(not_kept, Some(StoreError::Compacted { asked, .. }) if asked == second), "{not_kept:?}");
    let future = scene.store.snapshot_at(third + 1_000).err();
    assert!(matches!(future, Some(StoreError::Future { newest, .. }) if newest == third), "{future:?}");

    scene.store.compact(third).await.expect("compact");
    let compacted = scene.store.snapshot_at(first).err();
    assert!(matches!(compacted, Some(StoreError::Compacted { .. })), "{compacted:?}");
    assert_eq!(old.get(&key).expect("was there").value, value("one", first), "who holds a snapshot keeps it");
}

pub async fn own_writes_are_read<S: Store>(scene: &Scene<S>) {
    for number in 0..50 {
        let key = pod("d", &format!("p{number}"));
        let revision = scene.create(&key, "x").await.expect("create").revision;
        let snapshot = scene.store.snapshot();
        assert!(snapshot.revision() >= revision && snapshot.get(&key).is_some(), "write {number} is not visible");
        let consistent = scene.store.consistent_snapshot().await.expect("a consistent snapshot");
        assert!(consistent.revision() >= revision);
    }
}
