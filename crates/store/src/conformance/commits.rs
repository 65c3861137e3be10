//! Commits: what they change, when they are refused, which revisions they get.

use std::sync::Arc;

use backstay_api::{Index, Pairs};

use super::{Scene, encoded, pod, value};
use crate::{Operation, Store, StoreError};

pub async fn create_update_delete<S: Store>(scene: &Scene<S>) {
    let key = pod("d", "a");
    let created = scene.create(&key, "one").await.expect("create");
    assert_eq!(created.key, key);
    assert_eq!(scene.store.snapshot().get(&key).expect("created").value, value("one", created.revision));

    let updated = scene.update(&key, "two", created.revision).await.expect("update");
    assert!(updated.revision > created.revision);
    let read = scene.store.snapshot().get(&key).expect("updated");
    assert_eq!((read.revision, &read.value[..]), (updated.revision, value("two", updated.revision).as_bytes()));

    let deleted = scene.delete(&key, updated.revision).await.expect("delete");
    assert!(deleted.revision > updated.revision);
    assert_eq!(deleted.value, value("gone", deleted.revision), "a delete answers with the last state");
    assert!(scene.store.snapshot().get(&key).is_none());

    let again = scene.create(&key, "three").await.expect("a deleted key can be created again");
    assert!(again.revision > deleted.revision);
}

pub async fn refusals<S: Store>(scene: &Scene<S>) {
    let key = pod("d", "a");
    let missing = scene.update(&key, "x", 1).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "update of nothing: {missing:?}");
    let missing = scene.delete(&key, 1).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "delete of nothing: {missing:?}");

    let first = scene.create(&key, "one").await.expect("create");
    let exists = scene.create(&key, "other").await;
    assert!(matches!(&exists, Err(StoreError::Exists { current, .. }) if current.revision == first.revision));

    let second = scene.update(&key, "two", first.revision).await.expect("update");
    for stale in [first.revision, second.revision + 1, 0] {
        let conflict = scene.update(&key, "x", stale).await;
        assert!(
            matches!(&conflict, Err(StoreError::Conflict { current, .. }) if current.revision == second.revision),
            "update expecting {stale}: {conflict:?}"
        );
        let conflict = scene.delete(&key, stale).await;
        assert!(
            matches!(&conflict, Err(StoreError::Conflict { current, .. }) if current.value == value("two", second.revision)),
            "delete expecting {stale}: {conflict:?}"
        );
    }
    let read = scene.store.snapshot().get(&key).expect("still there");
    assert_eq!(read.value, value("two", second.revision), "refusals change nothing");
    assert_eq!(scene.newest(), second.revision, "refusals take no revision that readers see");
}

pub async fn revisions_grow<S: Store>(scene: &Scene<S>) {
    let mut last = scene.newest();
    for round in 0..20 {
        let key = pod("d", &format!("p{round}"));
        let created = scene.create(&key, "x").await.expect("create").revision;
        assert!(created > last, "{created} after {last}");
        assert_eq!(scene.newest(), created, "the newest commit is the snapshot's revision");
        last = created;
        if round % 2 == 0 {
            last = scene.delete(&key, created).await.expect("delete").revision;
            assert_eq!(scene.newest(), last, "deletions count");
        }
    }
}

pub async fn values_carry_their_revision<S: Store>(scene: &Scene<S>) {
    let key = pod("d", "a");
    let mut revision = scene.create(&key, "0").await.expect("create").revision;
    for round in 1..12 {
        let entry = scene.update(&key, &round.to_string(), revision).await.expect("update");
        revision = entry.revision;
        assert_eq!(entry.value, value(&round.to_string(), revision), "the digits stand once, between head and tail");
    }
}

pub async fn index_is_kept<S: Store>(scene: &Scene<S>) {
    let index = Index {
        uid: "u-1".into(),
        labels: Pairs::of([("app", "x"), ("empty", "")].into_iter()),
        fields: Pairs::of([("spec.nodeName", "n1")].into_iter()),
        owners: vec!["o-1".into(), "o-2".into()],
    };
    let mut with_index = encoded("x");
    with_index.index = Arc::new(index.clone());
    let key = pod("d", "a");
    let entry = scene.store.commit(key.clone(), Operation::Create { value: with_index }).await.expect("create");
    assert_eq!(*entry.index, index);
    assert_eq!(*scene.store.snapshot().get(&key).expect("created").index, index);
}
