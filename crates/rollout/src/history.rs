//! `rollout history`: which revisions there are, and what one of them holds.

use backstay_api::meta;
use serde_json::Value;

use crate::revisions::History;
use crate::{describe, tabs};

/// Why a DaemonSet carries a revision; copied from the DaemonSet when the revision is made.
pub const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    #[error("revision must be a positive integer: {0}")]
    Negative(i64),
    #[error("unable to find the specified revision")]
    NotFound,
}

/// The number as the user gave it, checked. 0 stands for all revisions.
pub fn check_number(revision: i64) -> Result<i64, HistoryError> {
    if revision < 0 { Err(HistoryError::Negative(revision)) } else { Ok(revision) }
}

/// What follows `daemonset.apps/NAME ` in the output: the list of revisions, or with a number (not 0) the template
/// of that one. A line break still has to follow.
pub fn view(history: &History, revision: i64) -> Result<String, HistoryError> {
    let title = if revision > 0 { format!("with revision #{revision}") } else { String::new() };
    let body = if history.is_empty() {
        "No rollout history found.".to_string()
    } else if revision > 0 {
        let found = *history.by_number().get(&revision).ok_or(HistoryError::NotFound)?;
        describe::template(&found.template())
    } else {
        list(history)
    };
    Ok(format!("{title}\n{body}"))
}

/// The DaemonSet as each revision (or the one asked for) would make it, by ascending number.
pub fn objects(daemonset: &Value, history: &History, revision: i64) -> Result<Vec<Value>, HistoryError> {
    let revisions = history.by_number();
    if revision > 0 {
        let found = revisions.get(&revision).ok_or(HistoryError::NotFound)?;
        return Ok(vec![found.applied_to(daemonset)]);
    }
    Ok(revisions.values().map(|revision| revision.applied_to(daemonset)).collect())
}

fn list(history: &History) -> String {
    let mut text = String::from("REVISION\tCHANGE-CAUSE\n");
    for (number, revision) in history.by_number() {
        let cause = meta::annotation(&revision.object, CHANGE_CAUSE).filter(|cause| !cause.is_empty());
        text.push_str(&format!("{number}\t{}\n", cause.unwrap_or("<none>")));
    }
    tabs::align(&text, 0, 2)
}
