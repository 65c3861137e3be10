//! The parameters of operations.

use serde_json::{Value, json};

/// What a parameter is called, which type it has, and what it does.
type Parameter = (&'static str, &'static str, &'static str);

const PRETTY: Parameter = ("pretty", "string", "If 'true', then the output is pretty printed.");

const DRY_RUN: Parameter =
    ("dryRun", "string", "When present, nothing is kept. The only value is All: every step but the last is taken.");

const FIELD_MANAGER: Parameter =
    ("fieldManager", "string", "Who makes this change; recorded as the owner of the fields that are set.");

const FIELD_VALIDATION: Parameter = (
    "fieldValidation",
    "string",
    "What to do about unknown and duplicate fields: Ignore drops them, Warn (the default) drops them and says so in a \
     Warning header, Strict refuses the request.",
);

const FORCE: Parameter = ("force", "boolean", "Take over fields that other managers own. Only for server-side apply.");

const SELECTORS: [Parameter; 11] = [
    ("allowWatchBookmarks", "boolean", "Ask for BOOKMARK events in a watch."),
    ("continue", "string", "The token of the previous page of a list."),
    ("fieldSelector", "string", "Only objects whose fields match."),
    ("labelSelector", "string", "Only objects whose labels match."),
    ("limit", "integer", "How many objects to return at most; more are had with the continue token."),
    ("resourceVersion", "string", "The version to start from, or how fresh a list has to be."),
    ("resourceVersionMatch", "string", "How resourceVersion is applied to a list: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Begin a watch with the objects that exist, and a bookmark after them."),
    ("shardSelector", "string", "Only the objects of one shard."),
    ("timeoutSeconds", "integer", "How long the request may take, whatever happens."),
    ("watch", "boolean", "Stream changes instead of returning a list."),
];

const DELETION: [Parameter; 5] = [
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "Seconds until the object is deleted; 0 is at once."),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Delete even if the kept object cannot be read. Dangerous.",
    ),
    ("orphanDependents", "boolean", "Old form of propagationPolicy."),
    ("propagationPolicy", "string", "What happens to dependents: Orphan, Background or Foreground."),
];

/// Parameters of the path and of every operation on it.
pub fn of_path(path: &str) -> Vec<Value> {
    let mut parameters = Vec::new();
    for (name, what) in [("name", "name of the object"), ("namespace", "namespace of the object")] {
        if path.contains(&format!("{{{name}}}")) {
            parameters.push(json!({
                "name": name, "in": "path", "required": true, "description": what,
                "schema": {"type": "string", "uniqueItems": true},
            }));
        }
    }
    parameters.push(query(&PRETTY));
    parameters
}

/// The query parameters of an operation, by its `x-kubernetes-action`.
pub fn of_action(action: &str) -> Vec<Value> {
    let names: Vec<Parameter> = match action {
        "list" => SELECTORS.to_vec(),
        "post" | "put" => vec![DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION],
        "patch" => vec![DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE],
        "delete" => DELETION.to_vec(),
        "deletecollection" => {
            let unwatched =
                SELECTORS.into_iter().filter(|(name, ..)| !matches!(*name, "watch" | "allowWatchBookmarks"));
            let mut both: Vec<Parameter> = DELETION.into_iter().chain(unwatched).collect();
            both.sort_unstable_by_key(|(name, ..)| *name);
            both
        }
        _ => Vec::new(),
    };
    names.iter().map(query).collect()
}

fn query((name, ty, description): &Parameter) -> Value {
    json!({
        "name": name, "in": "query", "description": description, "schema": {"type": ty, "uniqueItems": true},
    })
}
