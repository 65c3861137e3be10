//! Finalizers: what keeps an object that is being deleted, and when it may go.

use backstay_api::meta::{self, FOREGROUND, ORPHAN};
use serde_json::Value;

use crate::catalog::Served;
use crate::request::options::{DeleteOptions, Propagation};

/// The finalizers an object gets when it is deleted with these options. Source: `deletionFinalizersForGarbageCollection`.
pub fn on_delete(object: &Value, options: &DeleteOptions) -> Vec<String> {
    let mut finalizers: Vec<String> = meta::finalizers(object)
        .filter(|finalizer| !matches!(*finalizer, ORPHAN | FOREGROUND))
        .map(str::to_string)
        .collect();
    if should_orphan(object, options) {
        finalizers.push(ORPHAN.into());
    }
    if should_wait_for_dependents(object, options) {
        finalizers.push(FOREGROUND.into());
    }
    finalizers
}

/// Whether an update of an object in deletion was the last thing it waited for.
pub fn is_finished(served: &Served, object: &Value, old: &Value) -> bool {
    if meta::finalizers(object).next().is_some() || !meta::is_being_deleted(old) {
        return false;
    }
    if served.is("", "namespaces") {
        return meta::list_at(object, &["spec", "finalizers"]).is_empty();
    }
    meta::int_at(old, &["metadata", "deletionGracePeriodSeconds"]) == Some(0)
}

fn should_orphan(object: &Value, options: &DeleteOptions) -> bool {
    match (options.orphan_dependents, options.propagation) {
        (Some(orphan), _) => orphan,
        (None, Some(policy)) => policy == Propagation::Orphan,
        (None, None) => meta::finalizers(object).any(|finalizer| finalizer == ORPHAN),
    }
}

fn should_wait_for_dependents(object: &Value, options: &DeleteOptions) -> bool {
    match (options.orphan_dependents, options.propagation) {
        (Some(_), _) => false,
        (None, Some(policy)) => policy == Propagation::Foreground,
        (None, None) => meta::finalizers(object).any(|finalizer| finalizer == FOREGROUND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(finalizers: Value, options: DeleteOptions, expected: &[&str]) {
        let object = json!({ "metadata": { "finalizers": finalizers } });
        assert_eq!(on_delete(&object, &options), expected, "{finalizers:?} {options:?}");
    }

    #[test]
    fn the_options_decide_about_dependents() {
        let policy = |propagation| DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        let legacy = |orphan| DeleteOptions { orphan_dependents: Some(orphan), ..DeleteOptions::default() };
        check(json!([]), DeleteOptions::default(), &[]);
        check(json!(["a"]), policy(Propagation::Foreground), &["a", FOREGROUND]);
        check(json!(["a", FOREGROUND]), policy(Propagation::Orphan), &["a", ORPHAN]);
        check(json!([ORPHAN]), DeleteOptions::default(), &[ORPHAN]);
        check(json!([ORPHAN]), policy(Propagation::Background), &[]);
        check(json!([]), legacy(true), &[ORPHAN]);
        check(json!([FOREGROUND]), legacy(false), &[]);
    }
}
