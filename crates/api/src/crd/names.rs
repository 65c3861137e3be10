//! The status of a definition: whether its names are free, and so whether it is served.
//! Source: the naming and establishing controllers of `apiextensions-apiserver`, which are one planner here.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::approval;
use crate::meta::{self, list_at, str_at, value_at};
use crate::time;

/// Keeps a definition that is being deleted until its objects are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Whether the resources of the definition are served.
pub fn is_established(definition: &Value) -> bool {
    meta::is_true(definition, "Established")
}

/// The status that a definition should have beside all `others` of the server. Equal to its status: nothing to do.
///
/// Names that others of its group have been given before are not given again; a definition that was established once
/// stays so.
pub fn status<'a>(definition: &Value, others: impl IntoIterator<Item = &'a Value>, now: Timestamp) -> Value {
    let taken = Taken::by(others.into_iter().filter(|other| !is_same(definition, other)), definition);
    let (accepted, conflict) = accept(definition, &taken);
    let mut status = definition.get("status").filter(|status| status.is_object()).cloned().unwrap_or_else(|| json!({}));
    status["acceptedNames"] = accepted;
    let accepted = conflict.is_none();
    let named = match conflict {
        None => condition_of("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
        Some(Conflict { reason, message }) => condition_of("NamesAccepted", "False", reason, &message),
    };
    let established = match () {
        () if is_established(definition) => None,
        () if accepted => {
            Some(condition_of("Established", "True", "InitialNamesAccepted", "the initial names have been accepted"))
        }
        () => Some(condition_of("Established", "False", "NotAccepted", "not all names are accepted")),
    };
    let approved = approval::of(definition).map(|approval| {
        let (status, reason) = approval.condition();
        condition_of("KubernetesAPIApprovalPolicyConformant", status, reason, &approval.message())
    });
    for wanted in std::iter::once(named).chain(established).chain(approved) {
        set_condition(&mut status, wanted, now);
    }
    remember_storage_version(definition, &mut status);
    status
}

/// Marks a definition for deletion as its DELETE does: it stays until whoever removes its objects takes the finalizer.
pub fn begin_deletion(definition: &mut Value, now: Timestamp) {
    let finalizers = meta::map_mut(definition, &["metadata"]).entry("finalizers").or_insert_with(|| json!([]));
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|finalizer| finalizer == CLEANUP_FINALIZER)
    {
        finalizers.push(CLEANUP_FINALIZER.into());
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will be initiated";
    set_terminating(definition, "True", "InstanceDeletionPending", message, now);
}

/// Marks a definition whose objects are on their way out.
pub fn continue_deletion(definition: &mut Value, now: Timestamp) {
    let message = "CustomResource deletion is in progress";
    set_terminating(definition, "True", "InstanceDeletionInProgress", message, now);
}

/// Marks a definition whose objects are gone, and that waits for others.
pub fn end_deletion(definition: &mut Value, now: Timestamp) {
    set_terminating(definition, "False", "InstanceDeletionCompleted", "removed all instances", now);
}

fn set_terminating(definition: &mut Value, status: &str, reason: &str, message: &str, now: Timestamp) {
    meta::map_mut(definition, &["status"]);
    set_condition(&mut definition["status"], condition_of("Terminating", status, reason, message), now);
}

/// Names that other definitions of the group were given.
#[derive(Default)]
struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Taken {
    fn by<'a>(others: impl Iterator<Item = &'a Value>, definition: &Value) -> Self {
        let group = str_at(definition, &["spec", "group"]);
        let mut taken = Self::default();
        for other in others.filter(|other| str_at(other, &["spec", "group"]) == group) {
            let Some(names) = value_at(other, &["status", "acceptedNames"]) else { continue };
            let one = |name: &str| Some(str_at(names, &[name]).to_string()).filter(|name| !name.is_empty());
            taken.resources.extend(["plural", "singular"].into_iter().filter_map(one));
            taken.resources.extend(strings(names, "shortNames"));
            taken.kinds.extend(["kind", "listKind"].into_iter().filter_map(one));
        }
        taken
    }
}

struct Conflict {
    reason: &'static str,
    message: String,
}

/// The names that the definition gets, and the last of the conflicts that keep it from getting all it asks for.
fn accept(definition: &Value, taken: &Taken) -> (Value, Option<Conflict>) {
    let empty = Value::Object(Map::new());
    let asked = value_at(definition, &["spec", "names"]).unwrap_or(&empty);
    let had = value_at(definition, &["status", "acceptedNames"]).unwrap_or(&empty);
    let mut accepted = had.as_object().cloned().unwrap_or_default();
    let mut single = |field: &str, reason: &'static str, taken: &BTreeSet<String>| {
        let name = str_at(asked, &[field]);
        if name != str_at(had, &[field]) && taken.contains(name) {
            return Some(Conflict { reason, message: in_use(name) });
        }
        if !name.is_empty() {
            accepted.insert(field.into(), name.into());
        }
        None
    };
    let conflicts = [
        single("plural", "PluralConflict", &taken.resources),
        single("singular", "SingularConflict", &taken.resources),
        short_names_conflict(asked, had, taken),
        single("kind", "KindConflict", &taken.kinds),
        single("listKind", "ListKindConflict", &taken.kinds),
    ];
    if conflicts[2].is_none() {
        copy_list(&mut accepted, asked, "shortNames");
    }
    copy_list(&mut accepted, asked, "categories");
    (Value::Object(accepted), conflicts.into_iter().flatten().last())
}

fn short_names_conflict(asked: &Value, had: &Value, taken: &Taken) -> Option<Conflict> {
    let had: BTreeSet<String> = strings(had, "shortNames").collect();
    let clashing = strings(asked, "shortNames").filter(|name| !had.contains(name) && taken.resources.contains(name));
    let messages: Vec<String> = clashing.map(|name| in_use(&name)).collect();
    let message = match messages.as_slice() {
        [] => return None,
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    Some(Conflict { reason: "ShortNamesConflict", message })
}

fn in_use(name: &str) -> String {
    format!("{name:?} is already in use")
}

fn copy_list(to: &mut Map<String, Value>, from: &Value, name: &str) {
    match from.get(name).filter(|list| !list.is_null()) {
        Some(list) => to.insert(name.into(), list.clone()),
        None => to.remove(name),
    };
}

fn strings<'a>(names: &'a Value, field: &str) -> impl Iterator<Item = String> + 'a {
    list_at(names, &[field]).iter().filter_map(Value::as_str).map(str::to_string)
}

/// The version that objects are kept in has objects from now on.
fn remember_storage_version(definition: &Value, status: &mut Value) {
    let versions = list_at(definition, &["spec", "versions"]).iter();
    let storage = versions.filter(|version| version.get("storage") == Some(&Value::Bool(true)));
    let names: Vec<&str> = storage.map(|version| str_at(version, &["name"])).collect();
    let stored = meta::map_mut(status, &[]).entry("storedVersions").or_insert_with(|| json!([]));
    if stored.is_null() {
        *stored = json!([]);
    }
    if let Some(stored) = stored.as_array_mut() {
        for name in names {
            if !stored.iter().any(|stored| stored == name) {
                stored.push(name.into());
            }
        }
    }
}

fn is_same(left: &Value, right: &Value) -> bool {
    meta::name(left) == meta::name(right)
}

fn condition_of(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message})
}

/// Puts a condition in; its time changes only with its status.
fn set_condition(status: &mut Value, mut wanted: Value, now: Timestamp) {
    let conditions = meta::map_mut(status, &[]).entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let conditions = conditions.as_array_mut().expect("made a list just above");
    let now = time::seconds(now);
    let Some(old) = conditions.iter_mut().find(|old| old["type"] == wanted["type"]) else {
        wanted["lastTransitionTime"] = now.into();
        conditions.push(wanted);
        return;
    };
    let since = if old["status"] == wanted["status"] { old["lastTransitionTime"].clone() } else { now.into() };
    wanted["lastTransitionTime"] = since;
    if let Some(generation) = old.get("observedGeneration") {
        wanted["observedGeneration"] = generation.clone();
    }
    *old = wanted;
}
