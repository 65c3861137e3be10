//! The state of one resource at an older revision, found by undoing the events since then.

use std::collections::BTreeMap;
use std::sync::Arc;

use backstay_store::{Entry, Key, Range, Revision, Snapshot, Store, StoreError};

/// The entries of one range as they were.
struct Past {
    revision: Revision,
    entries: BTreeMap<Key, Arc<Entry>>,
}

/// The range at `revision`: a snapshot that was kept, or one made from the newest and the log.
///
/// # Errors
/// `Compacted` if neither reaches back so far, `Future` if there is no such revision yet.
pub fn at(store: &dyn Store, range: &Range, revision: Revision) -> Result<Arc<dyn Snapshot>, StoreError> {
    let newest = store.snapshot();
    if newest.revision() == revision {
        return Ok(newest);
    }
    if let Ok(kept) = store.snapshot_at(revision) {
        return Ok(kept);
    }
    let mut watch = store.watch(range.clone(), revision)?;
    // Taken after the watch was started: no event can be missing in between.
    let newest = store.snapshot();
    let mut entries: BTreeMap<Key, Arc<Entry>> =
        newest.list(range, None, 0).into_iter().map(|entry| (entry.key.clone(), entry)).collect();
    let mut seen = std::collections::BTreeSet::new();
    while let Some(event) = watch.try_next()? {
        // Only the first event of a key tells how it was before.
        if event.entry.revision > newest.revision() || !seen.insert(event.entry.key.clone()) {
            continue;
        }
        match &event.previous {
            Some(previous) => entries.insert(previous.key.clone(), previous.clone()),
            None => entries.remove(&event.entry.key),
        };
    }
    Ok(Arc::new(Past { revision, entries }))
}

impl Past {
    fn within<'a>(&'a self, range: &'a Range) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.entries.values().filter(|entry| range.holds(entry))
    }
}

impl Snapshot for Past {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn is_whole(&self) -> bool {
        false
    }

    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.entries.get(key).cloned()
    }

    fn select(
        &self,
        range: &Range,
        after: Option<&Key>,
        limit: usize,
        is_wanted: &dyn Fn(&Entry) -> bool,
    ) -> Vec<Arc<Entry>> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let found = self.within(range).filter(|entry| after.is_none_or(|after| entry.key > *after));
        found.filter(|entry| is_wanted(entry)).take(limit).cloned().collect()
    }

    fn count(&self, range: &Range) -> usize {
        self.within(range).count()
    }

    fn count_after(&self, range: &Range, after: &Key) -> usize {
        self.within(range).filter(|entry| entry.key > *after).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstay_api::Index;
    use backstay_store::{Encoded, MemoryStore, Operation};

    fn encoded(text: &str) -> Encoded {
        Encoded { head: format!("{text}\"").into(), tail: "\"".into(), index: Arc::new(Index::default()) }
    }

    #[tokio::test]
    async fn the_log_leads_back() {
        let store = MemoryStore::new();
        let key = |name: &str| Key::new("things", "a", name);
        let create = |text: &str| Operation::Create { value: encoded(text) };
        store.commit(key("x"), create("x1")).await.unwrap();
        let then = store.commit(key("y"), create("y1")).await.unwrap().revision;
        store.commit(key("x"), Operation::Update { value: encoded("x2"), expected: 1 }).await.unwrap();
        store.commit(key("y"), Operation::Delete { last: encoded("y1"), expected: then }).await.unwrap();
        store.commit(key("z"), create("z1")).await.unwrap();
        let range = Range::within("things", "a");
        let past = at(&store, &range, then).unwrap();
        let seen: Vec<String> = past.list(&range, None, 0).iter().map(|entry| text(entry)).collect();
        assert_eq!(seen, ["x1\"1\"", "y1\"2\""]);
        assert_eq!(past.count_after(&range, &key("x")), 1);
        assert!(matches!(at(&store, &range, 99), Err(StoreError::Future { .. })));
    }

    fn text(entry: &Entry) -> String {
        String::from_utf8(entry.value.to_vec()).unwrap()
    }
}
