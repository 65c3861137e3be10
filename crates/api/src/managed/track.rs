//! Ownership after a write that is not an apply: whoever changed a field owns it, and nobody else does.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::compare::{Comparison, compare};
use super::entries::{Identity, Managers, Operation, Owned};
use super::set::FieldSet;
use super::shape::Node;
use super::{Manager, TrackedFrom, unowned};
use crate::meta;
use crate::schema::{Scalar, Schema, Type};

/// Writes `metadata.managedFields` of `after`, which a create, update or patch made out of `before` (none: create).
///
/// `after` is decoded and defaulted, but not yet prepared by [`crate::strategy`]; its own `managedFields` are what the
/// client sent (an empty list, which decoding must keep, or `[{}]` gives up all tracking).
pub fn track_update(schema: &Schema, ty: &Type, before: Option<&Value>, after: &mut Value, manager: &Manager<'_>) {
    let sent = meta::remove_meta(after, "managedFields");
    let mut managers = managers_to_start_from(before, sent.as_ref(), manager);
    if managers.is_empty() && before.is_some() {
        // Nobody was tracked so far, or the client gave it up: it stays so until someone applies.
        return;
    }
    let node = Node::root(schema, ty);
    let write = manager.write(Operation::Update);
    match before {
        Some(before) => write.record(node, before, after, &mut managers),
        None => write.record(node, &empty_object(schema, ty), after, &mut managers),
    }
    store(after, &managers);
}

/// Writes `metadata.managedFields` of an object that is about to be created, but not by an apply. One that comes with
/// managers is tracked in any case.
pub fn track_create(schema: &Schema, ty: &Type, object: &mut Value, manager: &Manager<'_>, from: TrackedFrom) {
    let sent = meta::value_at(object, &["metadata", "managedFields"]);
    if from == TrackedFrom::FirstApply && managers_to_start_from(None, sent, manager).is_empty() {
        meta::remove_meta(object, "managedFields");
        return;
    }
    track_update(schema, ty, None, object, manager);
}

/// A write by one manager.
pub struct Write {
    pub identity: Identity,
    pub api_version: String,
    /// What this write cannot change.
    pub reset: FieldSet,
    pub now: Timestamp,
}

impl Write {
    /// Gives the fields that differ to the writer, and takes them from everyone else.
    pub fn record(&self, node: Node<'_>, before: &Value, after: &Value, managers: &mut Managers) {
        reconcile(node, managers);
        let found = compare(node, before, after).without(&self.reset);
        if found.is_same() {
            return;
        }
        let Comparison { added, modified: mut taken, removed } = found;
        taken.absorb(added);
        managers.disown(&taken, None);
        managers.disown(&removed, None);
        taken.subtract(unowned());
        if !taken.is_empty() {
            let owned = managers.by_identity.entry(self.identity.clone()).or_insert_with(|| Owned {
                fields: FieldSet::default(),
                api_version: self.api_version.clone(),
                time: None,
            });
            owned.fields.absorb(taken);
            owned.time = Some(self.now);
        }
        managers.cap();
    }
}

/// Brings all sets in line with the type, which may have become atomic in places since they were written.
pub fn reconcile(node: Node<'_>, managers: &mut Managers) {
    for owned in managers.by_identity.values_mut() {
        if !node.is_reconciled(&owned.fields) {
            owned.fields = node.reconciled(&owned.fields);
        }
    }
}

/// Writes the entries into an object; nobody: no `managedFields` at all.
pub fn store(object: &mut Value, managers: &Managers) {
    if managers.is_empty() {
        meta::remove_meta(object, "managedFields");
    } else {
        meta::set_meta(object, "managedFields", managers.write());
    }
}

/// What the client sent counts, unless it sent nothing, nonsense, or writes a subresource.
fn managers_to_start_from(before: Option<&Value>, sent: Option<&Value>, manager: &Manager<'_>) -> Managers {
    let stored = || {
        let stored = before.and_then(|before| meta::value_at(before, &["metadata", "managedFields"]));
        Managers::read(stored).unwrap_or_default()
    };
    let sent = sent.filter(|_| manager.subresource.is_empty());
    if sent.is_some_and(gives_up_tracking) {
        return Managers::default();
    }
    Managers::read(sent).ok().filter(|managers| !managers.is_empty()).unwrap_or_else(stored)
}

fn gives_up_tracking(sent: &Value) -> bool {
    *sent == json!([]) || *sent == json!([{}])
}

/// What Go makes of an object without any field: compared with it, a new object adds only what says something.
pub fn empty_object(schema: &Schema, ty: &Type) -> Value {
    let zero = match ty {
        Type::Struct { id } => {
            let written = schema.get(*id).fields.iter().filter(|(_, field)| field.written && !field.pointer);
            let fields = written.map(|(name, field)| (name.clone(), empty_object(schema, &field.ty)));
            return Value::Object(fields.collect::<Map<_, _>>());
        }
        Type::Scalar(scalar) => scalar,
        Type::List { .. } | Type::Map { .. } | Type::Any => return Value::Null,
    };
    match zero {
        Scalar::String => "".into(),
        Scalar::Duration => "0s".into(),
        Scalar::Quantity => "0".into(),
        Scalar::Bool => false.into(),
        Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::IntOrString => 0.into(),
        Scalar::Bytes | Scalar::Time | Scalar::MicroTime => Value::Null,
    }
}
