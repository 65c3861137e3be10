//! Follows what servers say of each other: see [`backstay_api::servers`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backstay_api::url::escaped;
use backstay_api::{Entropy, meta, servers};
use serde_json::Value;
use tokio::sync::mpsc;

use super::Servers;
use crate::client::Api;
use crate::watch::{self, Change, Selection};

/// A server that is the only one says nothing of itself, and need not be watched; it may get company.
const LOOK_EVERY: Duration = Duration::from_secs(600);
const CHANGES_MAX: usize = 16;

/// The addresses of all servers that have announced themselves, now and whenever there are others, for as long as somebody
/// listens. Where none has, nothing is told: that says nothing about those that one knows.
pub fn follow(asked: Servers, entropy: Entropy) -> mpsc::Receiver<BTreeSet<String>> {
    let (heard, listener) = mpsc::channel(1);
    // Those that this node was told of come first.
    let known = asked.all().into_iter().find_map(|server| server.url).unwrap_or_default();
    tokio::spawn(async move {
        tokio::select! {
            () = tell(Api::new(asked), &known, entropy, &heard) => {}
            () = heard.closed() => {}
        }
    });
    listener
}

async fn tell(api: Api, own: &str, entropy: Entropy, heard: &mpsc::Sender<BTreeSet<String>>) {
    let query = format!("labelSelector={}", escaped(servers::SELECTOR));
    let selection = Selection { path: servers::PATH, query };
    begun(&api, &selection, &entropy).await;
    let (sender, mut changes) = mpsc::channel(CHANGES_MAX);
    let telling = async {
        let (mut leases, mut known) = (BTreeMap::new(), BTreeSet::new());
        while let Some(change) = changes.recv().await {
            take_in(&mut leases, change);
            let urls = servers::urls(leases.values(), own);
            if !urls.is_empty() && urls != known {
                known = urls.clone();
                // Nobody listens any more: that is noticed elsewhere.
                let _ = heard.send(urls).await;
            }
        }
    };
    tokio::join!(watch::run(api, selection, entropy, sender), telling);
}

/// Until there is something to watch.
async fn begun(api: &Api, selection: &Selection, entropy: &Entropy) {
    let mut restored = api.restored();
    loop {
        match watch::list(api, selection).await {
            Ok((leases, _)) if !leases.is_empty() => return,
            Ok(_) => {}
            // A server of an earlier version does not tell nodes.
            Err(error) => tracing::debug!(%error, "it is not known whether there are other servers; will retry"),
        }
        tokio::select! {
            // It may be that the server has started again as one of several.
            Ok(()) = restored.changed() => {}
            () = tokio::time::sleep(entropy.jittered(LOOK_EVERY)) => {}
        }
    }
}

fn take_in(leases: &mut BTreeMap<String, Value>, change: Change) {
    let name = |lease: &Value| meta::name(lease).to_string();
    match change {
        Change::Listed(all) => *leases = all.into_iter().map(|lease| (name(&lease), lease)).collect(),
        Change::Applied(lease) => drop(leases.insert(name(&lease), lease)),
        Change::Deleted(lease) => drop(leases.remove(&name(&lease))),
    }
}
