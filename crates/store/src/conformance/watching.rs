//! Watches: which events, in which order, from where, until when.

use super::{Scene, pod, value};
use crate::{EventKind, Key, Range, Store, StoreError, Watch};

pub async fn every_kind_of_event<S: Store>(scene: &Scene<S>) {
    let key = pod("d", "a");
    let mut watch = scene.store.watch(Range::all("pods"), scene.newest()).expect("watch");
    assert!(matches!(watch.try_next(), Ok(None)), "nothing has happened yet");

    let created = scene.create(&key, "one").await.expect("create");
    let added = watch.next().await.expect("an event");
    assert_eq!((added.kind, added.entry.revision), (EventKind::Added, created.revision));
    assert_eq!(added.entry.value, value("one", created.revision));
    assert!(added.previous.is_none());

    let updated = scene.update(&key, "two", created.revision).await.expect("update");
    let modified = watch.next().await.expect("an event");
    assert_eq!((modified.kind, modified.entry.revision), (EventKind::Modified, updated.revision));
    assert_eq!(modified.previous.as_ref().expect("the state before").value, value("one", created.revision));

    let gone = scene.delete(&key, updated.revision).await.expect("delete");
    let deleted = watch.next().await.expect("an event");
    assert_eq!((deleted.kind, deleted.entry.revision), (EventKind::Deleted, gone.revision));
    assert_eq!(deleted.entry.value, value("gone", gone.revision), "the last state, at the deletion's revision");
    assert_eq!(deleted.previous.as_ref().expect("the state before").value, value("two", updated.revision));
    assert!(matches!(watch.try_next(), Ok(None)));
}

pub async fn from_any_revision<S: Store>(scene: &Scene<S>) {
    let start = scene.newest();
    let mut revisions = vec![start];
    for number in 0..20 {
        let key = match number % 2 {
            0 => pod("d", &format!("p{number}")),
            _ => Key::new("configmaps", "d", &format!("c{number}")),
        };
        revisions.push(scene.create(&key, "x").await.expect("create").revision);
    }
    for (position, from) in revisions.iter().enumerate() {
        let mut watch = scene.store.watch(Range::all("pods"), *from).expect("watch");
        // Pods were the odd ones of `revisions`, whose first is the start.
        for expected in revisions.iter().enumerate().skip(position + 1).filter(|(at, _)| at % 2 == 1) {
            assert_eq!(watch.next().await.expect("an event").entry.revision, *expected.1, "watch from {from}");
        }
        assert!(matches!(watch.try_next(), Ok(None)), "no more events from {from}");
    }
}

pub async fn only_the_range<S: Store>(scene: &Scene<S>) {
    let from = scene.newest();
    let ranges = [
        (Range::all("pods"), vec!["a/x", "a-b/x", "a/y"]),
        (Range::within("pods", "a"), vec!["a/x", "a/y"]),
        (Range::one(&pod("a", "y")), vec!["a/y"]),
        (Range::all("configmaps"), vec!["a/x"]),
        (Range::all("secrets"), vec![]),
    ];
    let mut early: Vec<_> =
        ranges.iter().map(|(range, _)| scene.store.watch(range.clone(), from).expect("watch")).collect();
    scene.create_all(&[pod("a", "x"), Key::new("configmaps", "a", "x"), pod("a-b", "x"), pod("a", "y")]).await;
    for ((range, expected), watch) in ranges.iter().zip(&mut early) {
        assert_eq!(drain(&mut **watch), *expected, "a watch of {range:?} from before");
        let mut late = scene.store.watch(range.clone(), from).expect("watch");
        assert_eq!(drain(&mut *late), *expected, "a watch of {range:?} from after");
    }
}

/// Who watches one name, or one value of a field, hears of what belongs to it, or has belonged to it until then.
pub async fn only_who_is_concerned<S: Store>(scene: &Scene<S>) {
    let from = scene.newest();
    let on = |node: &str| Range::all("pods").with_field("spec.nodeName", node);
    let ranges = [
        (on("n1"), vec!["a/x n1", "a/x n2", "b/x n1"]),
        (on("n2"), vec!["a/x n2", "a/x n2", "a/x gone"]),
        (on("n3"), vec![]),
        (Range { namespace: Some("b".into()), ..on("n1") }, vec!["b/x n1"]),
        (
            Range { namespace: None, ..Range::one(&pod("", "x")) },
            vec!["a/x n1", "a/x n2", "b/x n1", "a/x n2", "a/x gone"],
        ),
        (Range::one(&pod("b", "x")), vec!["b/x n1"]),
        (Range::all("configmaps").with_field("status.phase", "n1"), vec!["a/x n1"]),
    ];
    let watch = |range: &Range| scene.store.watch(range.clone(), from).expect("watch");
    let mut early: Vec<_> = ranges.iter().map(|(range, _)| watch(range)).collect();
    let mut waiting = watch(&on("n2"));
    let waiting = tokio::spawn(async move { waiting.next().await.map(|event| event.entry.revision) });

    let first = scene.create(&pod("a", "x"), "n1").await.expect("create").revision;
    let second = scene.update(&pod("a", "x"), "n2", first).await.expect("update").revision;
    scene.create(&pod("b", "x"), "n1").await.expect("create");
    scene.create(&Key::new("configmaps", "a", "x"), "n1").await.expect("create");
    let third = scene.update(&pod("a", "x"), "n2", second).await.expect("update").revision;
    scene.delete(&pod("a", "x"), third).await.expect("delete");

    assert_eq!(waiting.await.expect("no panic").expect("an event"), second, "who waits is woken");
    let words = |watch: &mut dyn Watch| {
        let mut seen = Vec::new();
        while let Some(event) = watch.try_next().expect("nothing is missing") {
            let entry = &event.entry;
            seen.push(format!("{}/{} {}", entry.key.namespace, entry.key.name, entry.index.uid));
        }
        seen
    };
    for ((range, expected), watching) in ranges.iter().zip(&mut early) {
        let newest = scene.newest();
        assert_eq!(watching.progress() < newest, !expected.is_empty(), "{range:?} before it is read");
        assert_eq!(words(&mut **watching), *expected, "a watch of {range:?} from before");
        assert_eq!(watching.progress(), newest, "{range:?}");
        assert_eq!(words(&mut *watch(range)), *expected, "a watch of {range:?} from after");
    }
}

pub async fn progress_follows_the_store<S: Store>(scene: &Scene<S>) {
    let from = scene.newest();
    let mut watch = scene.store.watch(Range::all("configmaps"), from).expect("watch");
    assert_eq!(watch.progress(), from);
    scene.create_all(&[pod("a", "x"), pod("a", "y")]).await;
    drain(&mut *watch);
    assert_eq!(watch.progress(), scene.newest(), "other resources' commits are passed");

    let first = scene.create(&Key::new("configmaps", "a", "x"), "x").await.expect("create").revision;
    scene.create_all(&[pod("a", "z")]).await;
    assert!(watch.progress() < first, "an event that has not been returned is not passed");
    assert_eq!(watch.next().await.expect("an event").entry.revision, first);
    assert!(watch.progress() >= first);
    drain(&mut *watch);
    assert_eq!(watch.progress(), scene.newest());
}

pub async fn what_is_heard_can_be_read<S: Store>(scene: &Scene<S>) {
    let mut watch = scene.store.watch(Range::all("pods"), scene.newest()).expect("watch");
    let store = scene.store.clone();
    let reader = tokio::spawn(async move {
        for _ in 0..100 {
            let event = watch.next().await.expect("an event");
            let snapshot = store.snapshot();
            assert!(snapshot.revision() >= event.entry.revision, "heard of a commit that cannot be read yet");
            assert!(snapshot.get(&event.entry.key).is_some());
            store.watch(Range::all("pods"), event.entry.revision).expect("a watch can go on from there");
        }
    });
    for number in 0..100 {
        scene.create(&pod("d", &format!("p{number}")), "x").await.expect("create");
    }
    reader.await.expect("the reader saw what it heard of");
}

pub async fn future_and_compacted<S: Store>(scene: &Scene<S>) {
    scene.create_all(&[pod("a", "x"), pod("a", "y")]).await;
    let middle = scene.newest();
    scene.create_all(&[pod("a", "z")]).await;
    let newest = scene.newest();
    let future = scene.store.watch(Range::all("pods"), newest + 1_000).err();
    assert!(matches!(future, Some(StoreError::Future { .. })), "{future:?}");
    let mut lagging = scene.store.watch(Range::all("pods"), middle - 1).expect("watch");
    scene.store.watch(Range::all("quiet"), middle - 1).expect("watch");

    scene.store.compact(middle).await.expect("compact");
    assert_eq!(scene.store.oldest(), middle);
    for range in [Range::all("pods"), Range::all("quiet"), Range::all("never-used")] {
        let compacted = scene.store.watch(range.clone(), middle - 1).err();
        assert!(
            matches!(compacted, Some(StoreError::Compacted { oldest, .. }) if oldest == middle),
            "{range:?}: {compacted:?}"
        );
    }
    let mut watch = scene.store.watch(Range::all("pods"), middle).expect("from the oldest kept revision");
    assert_eq!(drain(&mut *watch), ["a/z"]);
    let fallen = lagging.next().await.err();
    assert!(matches!(fallen, Some(StoreError::Compacted { .. })), "{fallen:?}");

    scene.store.compact(newest + 1_000).await.expect("more than there is");
    assert_eq!(scene.store.oldest(), newest, "clamped to the newest");
    scene.store.compact(middle).await.expect("less than before");
    assert_eq!(scene.store.oldest(), newest, "never back");
    assert!(scene.store.watch(Range::all("pods"), newest).is_ok());
}

pub async fn close_ends_watches_and_commits<S: Store>(scene: &Scene<S>) {
    let mut watch = scene.store.watch(Range::all("pods"), scene.newest()).expect("watch");
    let waiting = {
        let mut watch = scene.store.watch(Range::all("secrets"), scene.newest()).expect("watch");
        tokio::spawn(async move { watch.next().await.err() })
    };
    scene.create_all(&[pod("a", "x")]).await;
    scene.store.close().await;
    scene.store.close().await;
    let refused = scene.create(&pod("a", "y"), "x").await.err();
    assert!(matches!(refused, Some(StoreError::Unavailable { .. })), "{refused:?}");
    assert!(watch.next().await.is_ok(), "what was committed before is still told");
    let ended = watch.next().await.err();
    assert!(matches!(ended, Some(StoreError::Unavailable { .. })), "{ended:?}");
    let woken = waiting.await.expect("the task");
    assert!(matches!(woken, Some(StoreError::Unavailable { .. })), "{woken:?}");
    assert_eq!(scene.store.snapshot().count(&Range::all("pods")), 1, "reads still work");
}

/// All events that are there.
fn drain(watch: &mut dyn Watch) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(event) = watch.try_next().expect("a running watch") {
        seen.push(format!("{}/{}", event.entry.key.namespace, event.entry.key.name));
    }
    seen
}
