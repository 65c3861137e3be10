//! Server-side apply.

use serde_json::{Map, Value};

use super::check::check;
use super::compare::compare;
use super::conflicts::{self, Conflict};
use super::entries::{Managers, Operation, Owned};
use super::extract::field_set;
use super::merge::merge;
use super::remove::remove;
use super::set::FieldSet;
use super::shape::Node;
use super::track::{Write, empty_object, reconcile, store};
use super::{Manager, last_applied, unowned};
use crate::schema::{Schema, Type};
use crate::{GroupVersionKind, Status, meta};

/// Owns what an object had before it was applied for the first time, if nobody else was tracked.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Server-side apply: merges `applied` into `live` (none: the object is about to be created) and writes the
/// `managedFields` of the result, which is still to be decoded ([`crate::decode::value`]), defaulted and prepared.
///
/// `applied` is the body as parsed, with nulls and unknown fields still in it: they have a meaning here.
///
/// # Errors
/// `Conflict` with one cause per field when another manager owns a field with another value and `force` is not set;
/// `BadRequest` for a body of another type or with `managedFields`; code 500 without a reason, as Kubernetes has it,
/// for a body that does not fit the schema or repeats a list key.
pub fn apply(
    schema: &Schema,
    ty: &Type,
    live: Option<&Value>,
    applied: &Value,
    manager: &Manager<'_>,
    force: bool,
) -> Result<Value, Status> {
    let applier = manager.write(Operation::Apply);
    check_body(schema, ty, applied, &manager.resource.gvk())?;
    let apply = Apply {
        node: Node::root(schema, ty),
        live: without_managed_fields(live),
        applied,
        managers: managers_before(schema, ty, live, manager)?,
        applier: &applier,
    };
    let from_kubectl = manager.name == last_applied::MANAGER;
    let outcome = match apply.run(force)? {
        Outcome::Conflicts(conflicts) if from_kubectl => apply.take_over_from_client_side_apply(conflicts)?,
        outcome => outcome,
    };
    match outcome {
        Outcome::Conflicts(conflicts) => Err(conflicts::refusal(&conflicts)),
        Outcome::Applied(mut object, managers) => {
            if from_kubectl {
                last_applied::renew(&mut object, applied);
            }
            store(&mut object, &managers);
            Ok(object)
        }
    }
}

struct Apply<'a> {
    node: Node<'a>,
    live: Value,
    applied: &'a Value,
    managers: Managers,
    applier: &'a Write,
}

enum Outcome {
    Applied(Value, Managers),
    Conflicts(Vec<Conflict>),
}

impl Apply<'_> {
    fn run(&self, force: bool) -> Result<Outcome, Status> {
        let mut managers = self.managers.clone();
        reconcile(self.node, &mut managers);
        let merged = merge(self.node, &self.live, self.applied)
            .map_err(|errors| failure(format!("failed to merge config: {}", errors.join("\n"))))?;

        let owned = Owned {
            fields: field_set(self.node, self.applied).without(&self.applier.reset),
            api_version: self.applier.api_version.clone(),
            time: Some(self.applier.now),
        };
        let last = managers.by_identity.insert(self.applier.identity.clone(), owned);
        let object = match last.filter(|last| !last.fields.is_empty()) {
            Some(last) => prune(self.node, &merged, &last.fields, &managers),
            None => merged,
        };

        let found = compare(self.node, &self.live, &object).without(&self.applier.reset);
        let changed = found.changed();
        let conflicts = self.conflicts(&managers, &changed);
        if !conflicts.is_empty() && !force {
            return Ok(Outcome::Conflicts(conflicts));
        }
        managers.disown(&changed.union(&found.removed), Some(&self.applier.identity));
        self.strip(&mut managers);
        Ok(Outcome::Applied(object, managers))
    }

    fn conflicts(&self, managers: &Managers, changed: &FieldSet) -> Vec<Conflict> {
        let others = managers.by_identity.iter().filter(|(identity, _)| **identity != self.applier.identity);
        others.flat_map(|(identity, owned)| conflicts::with(identity, &owned.fields.intersection(changed))).collect()
    }

    /// What nobody can own is in the applier's set only while pruning.
    fn strip(&self, managers: &mut Managers) {
        if let Some(owned) = managers.by_identity.get_mut(&self.applier.identity) {
            owned.fields = owned.fields.difference(unowned());
        }
        managers.by_identity.retain(|_, owned| !owned.fields.is_empty());
    }

    /// Who used `kubectl apply` so far may use `kubectl apply --server-side` from now on: fields that still are as
    /// client-side apply left them cause no conflicts.
    fn take_over_from_client_side_apply(&self, conflicts: Vec<Conflict>) -> Result<Outcome, Status> {
        let Some(allowed) = last_applied::unchanged_fields(self.node, &self.live, &self.applier.api_version) else {
            return Ok(Outcome::Conflicts(conflicts));
        };
        let left: Vec<Conflict> = conflicts.into_iter().filter(|conflict| !allowed.has(&conflict.path)).collect();
        if left.is_empty() { self.run(true) } else { Ok(Outcome::Conflicts(left)) }
    }
}

/// Takes out of `merged` what the applier named last time and does not name any more, unless someone else owns it.
fn prune(node: Node<'_>, merged: &Value, last: &FieldSet, managers: &Managers) -> Value {
    let last = node.with_named_fields(last);
    let present = node.with_named_fields(&field_set(node, merged));
    let kept = |pruned: &Value| node.with_named_fields(&field_set(node, pruned));

    let pruned = remove(node, merged, &last);
    let owned = managers.by_identity.values().fold(FieldSet::default(), |all, owned| all.union(&owned.fields));
    let owned = node.with_named_fields(&owned);
    let pruned = remove(node, merged, &present.difference(&kept(&pruned).union(&owned)));
    // Fields that nobody owns, and that this applier never named, only went with what was around them.
    remove(node, merged, &present.difference(&kept(&pruned)).intersection(&last))
}

fn check_body(schema: &Schema, ty: &Type, applied: &Value, expected: &GroupVersionKind) -> Result<(), Status> {
    let (api_version, kind) = (meta::str_at(applied, &["apiVersion"]), meta::str_at(applied, &["kind"]));
    let found = GroupVersionKind::from_api_version(api_version, kind);
    let found_text = show(&found.clone().unwrap_or_else(|| GroupVersionKind::new("", "", kind)));
    if found.as_ref() != Some(expected) {
        return Err(Status::bad_request(format!("invalid object type: {found_text}")));
    }
    if meta::value_at(applied, &["metadata", "managedFields"]).is_some() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    check(Node::root(schema, ty), applied).map_err(|why| {
        let (namespace, name) = (meta::namespace(applied).unwrap_or_default(), meta::name(applied));
        failure(format!("failed to create typed patch object ({namespace}/{name}; {found_text}): {why}"))
    })
}

/// `apps/v1, Kind=DaemonSet`; the core group leaves its place before the slash empty.
fn show(gvk: &GroupVersionKind) -> String {
    format!("{}/{}, Kind={}", gvk.group, gvk.version, gvk.kind)
}

/// The managers of the live object. If it has none, what is there counts as owned by someone.
fn managers_before(
    schema: &Schema,
    ty: &Type,
    live: Option<&Value>,
    manager: &Manager<'_>,
) -> Result<Managers, Status> {
    let Some(live) = live else { return Ok(Managers::default()) };
    let entries = meta::value_at(live, &["metadata", "managedFields"]);
    let mut managers =
        Managers::read(entries).map_err(|why| failure(format!("failed to decode managed fields: {why}")))?;
    if managers.is_empty() {
        let first = Manager { name: BEFORE_FIRST_APPLY, ..manager.clone() }.write(Operation::Update);
        first.record(Node::root(schema, ty), &empty_object(schema, ty), live, &mut managers);
    }
    Ok(managers)
}

fn without_managed_fields(live: Option<&Value>) -> Value {
    let mut live = live.cloned().unwrap_or_else(|| Value::Object(Map::new()));
    meta::remove_meta(&mut live, "managedFields");
    live
}

fn failure(message: String) -> Status {
    Status::with_code(500, None, message)
}
