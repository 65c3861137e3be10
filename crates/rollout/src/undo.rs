//! `rollout undo`: which revision to go back to, and the patch that does it.
//!
//! The patch touches `spec.template` only. It is the `data` of the revision, to the byte; the server does the rest.

use backstay_api::canonical;
use backstay_api::meta::{self, LAST_APPLIED};
use serde_json::Value;

use crate::describe;
use crate::revisions::{History, Revision};

/// What to print once the patch went through.
pub const ROLLED_BACK: &str = "rolled back";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UndoError {
    #[error("no last revision to roll back to")]
    NoPrevious,
    #[error("unable to find specified revision {0} in history")]
    NotFound(i64),
}

/// A negative number is refused before anything is fetched.
pub fn check_number(to_revision: i64) -> Result<i64, UndoError> {
    if to_revision < 0 { Err(UndoError::NotFound(to_revision)) } else { Ok(to_revision) }
}

/// The revision to go back to: the one with this number, or for 0 the one before the newest.
pub fn target(history: &History, to_revision: i64) -> Result<&Revision, UndoError> {
    check_number(to_revision)?;
    if to_revision == 0 {
        return history.previous().ok_or(UndoError::NoPrevious);
    }
    history.find(to_revision).ok_or(UndoError::NotFound(to_revision))
}

/// What a dry run on the client says instead of rolling back.
pub fn preview(target: &Revision) -> String {
    format!("will roll back to {}", describe::template(&target.template()))
}

/// The message that replaces the patch where the DaemonSet has the target's template already. It names the number as
/// it was given, so 0 where none was.
pub fn skipped(daemonset: &Value, target: &Revision, to_revision: i64) -> Option<String> {
    matches(daemonset, target)
        .then(|| format!("skipped rollback (current template already matches revision {to_revision})"))
}

/// Goes to standard error where `kubectl apply` has managed the object: undo does not touch its notes.
pub fn warning(resource: &str, daemonset: &Value) -> Option<String> {
    let name = meta::name(daemonset);
    meta::annotation(daemonset, LAST_APPLIED).map(|_| {
        format!(
            "Warning: resource {resource}/{name} was previously managed with 'kubectl apply'. Rolling back will not \
             update the {LAST_APPLIED} annotation, which may cause unexpected behavior on future 'kubectl apply' \
             operations. Consider using 'kubectl apply' with your previous configuration file instead."
        )
    })
}

/// Byte equality of the patches, but for the null creation time that servers before 1.34 wrote into them.
fn matches(daemonset: &Value, target: &Revision) -> bool {
    let ours = canonical::revision_data(daemonset);
    without_creation_time(&String::from_utf8_lossy(&ours)) == without_creation_time(&target.data)
}

fn without_creation_time(data: &str) -> String {
    const HEAD: &str = r#"{"spec":{"template":{"$patch":"replace","metadata":{"#;
    const NULL: &str = r#""creationTimestamp":null"#;
    let Some(rest) = data.strip_prefix(HEAD).and_then(|rest| rest.strip_prefix(NULL)) else {
        return data.to_string();
    };
    format!("{HEAD}{}", rest.strip_prefix(',').unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_null_creation_time_of_the_template_is_overlooked() {
        let check = |data: &str, expected: &str| assert_eq!(without_creation_time(data), expected);
        let bare = r#"{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"a":"b"}}}}}"#;
        check(&bare.replace("\"labels\"", "\"creationTimestamp\":null,\"labels\""), bare);
        check(bare, bare);
        check(
            r#"{"spec":{"template":{"$patch":"replace","metadata":{"creationTimestamp":null}}}}"#,
            r#"{"spec":{"template":{"$patch":"replace","metadata":{}}}}"#,
        );
        check(r#"{"creationTimestamp":null}"#, r#"{"creationTimestamp":null}"#);
    }
}
