//! Tells when somebody takes this node out of service, or back.

use std::sync::Arc;

use backstay_api::meta;
use backstay_api::url::escaped;
use serde_json::Value;
use tokio::sync::mpsc;

use super::Context;
use super::events::Kind;
use crate::transitions;
use crate::watch::{self, Change, Selection};

/// As many changes as the watch may run ahead of us.
const CHANGES_MAX: usize = 16;

/// Watches the Node object, for ever.
pub(super) async fn run(context: Arc<Context>) {
    let name = &context.config.name;
    let query = format!("fieldSelector=metadata.name%3D{}", escaped(name));
    let (sender, mut changes) = mpsc::channel(CHANGES_MAX);
    let selection = Selection { path: "/api/v1/nodes", query };
    let watching = watch::run(context.api.clone(), selection, context.config.entropy.clone(), sender);
    let telling = async {
        // As a kubelet: who begins takes its node to be in service.
        let mut was = false;
        while let Some(change) = changes.recv().await {
            let Some(is) = is_unschedulable(&change) else { continue };
            if let Some(reason) = transitions::of_service(was, is) {
                context.events.note_node(Kind::Normal, reason, transitions::message(name, reason));
            }
            was = is;
        }
    };
    tokio::join!(watching, telling);
}

/// `None`: there is no such node now.
fn is_unschedulable(change: &Change) -> Option<bool> {
    let node = match change {
        Change::Listed(nodes) => nodes.first()?,
        Change::Applied(node) => node,
        Change::Deleted(_) => return None,
    };
    Some(meta::value_at(node, &["spec", "unschedulable"]) == Some(&Value::Bool(true)))
}
