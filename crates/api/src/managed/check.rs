//! Whether an object fits its type, as far as server-side apply insists on it, in Kubernetes' words.

use std::collections::BTreeSet;

use serde_json::Value;

use super::path::PathElement;
use super::shape::Node;
use crate::patch::words::{go_syntax, go_type, go_value};
use crate::schema::{ListKind, Scalar, Type};

/// Everything that does not fit, as one message.
///
/// # Errors
/// One line if one thing is wrong: `.spec.replicas: expected numeric (int or float), got string`.
pub fn check(node: Node<'_>, value: &Value) -> Result<(), String> {
    let mut found = Vec::new();
    values(&mut Walk { path: String::new(), found: &mut found }, node, value);
    match found.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n{}", many.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"))),
    }
}

struct Walk<'a> {
    path: String,
    found: &'a mut Vec<String>,
}

impl Walk<'_> {
    fn error(&mut self, message: impl AsRef<str>) {
        let (path, message) = (&self.path, message.as_ref());
        self.found.push(if path.is_empty() { message.into() } else { format!("{path}: {message}") });
    }

    fn below(&mut self, element: impl std::fmt::Display, visit: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(&element.to_string());
        visit(self);
        self.path.truncate(length);
    }
}

fn values(walk: &mut Walk<'_>, node: Node<'_>, value: &Value) {
    let Node::Typed(schema, ty) = node else { return };
    if value.is_null() {
        return;
    }
    match ty {
        Type::Any => {}
        Type::Scalar(scalar) => {
            if let Some(message) = scalar_error(*scalar, value) {
                walk.error(message);
            }
        }
        Type::Struct { id } if !value.is_object() && schema.get(*id).preserve_unknown => {}
        Type::Struct { .. } | Type::Map { .. } => fields(walk, node, value),
        Type::List { kind, .. } => elements(walk, node, value, kind),
    }
}

fn fields(walk: &mut Walk<'_>, node: Node<'_>, value: &Value) {
    let Value::Object(fields) = value else {
        return walk.error(format!("expected map, got &{{{}}}", go_value(value)));
    };
    for (name, value) in fields {
        walk.below(PathElement::field(name), |walk| match node.declared(name) {
            Some(child) => values(walk, child, value),
            None => walk.error("field not declared in schema"),
        });
    }
}

fn elements(walk: &mut Walk<'_>, node: Node<'_>, value: &Value, kind: &ListKind) {
    let Value::Array(items) = value else {
        return walk.error(format!("expected list, got &{{{}}}", go_value(value)));
    };
    let mut seen = BTreeSet::new();
    for (at, item) in items.iter().enumerate() {
        let path = match kind {
            ListKind::Atomic => Ok(PathElement::Index(at as i64)),
            _ => node.item_path(item),
        };
        match path {
            Err(why) => return walk.error(format!("element {at}: {why}")),
            Ok(path) => {
                if !seen.insert(path.clone()) {
                    walk.error(format!("duplicate entries for key {path}"));
                }
                walk.below(path, |walk| values(walk, node.element(), item));
            }
        }
    }
}

fn scalar_error(scalar: Scalar, value: &Value) -> Option<String> {
    match scalar {
        Scalar::Int32 | Scalar::Int64 | Scalar::Double => {
            (!value.is_number()).then(|| format!("expected numeric (int or float), got {}", go_type(value)))
        }
        Scalar::Bool => (!value.is_boolean()).then(|| format!("expected boolean, got &{{{}}}", go_value(value))),
        Scalar::Quantity | Scalar::IntOrString => (value.is_object() || value.is_array())
            .then(|| format!("expected any scalar, got &{{{}}}", go_value(value))),
        _ => (!value.is_string())
            .then(|| format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(value))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::workload;

    #[track_caller]
    fn fits(value: Value, expected: Result<(), &str>) {
        let (schema, ty) = workload();
        assert_eq!(check(Node::root(&schema, &ty), &value), expected.map_err(str::to_string));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        fits(json!({"spec": {"priority": 1, "raw": [{}], "nodeName": null}, "data": {"a": "1"}}), Ok(()));
        fits(json!({"spec": {"priority": "x"}}), Err(".spec.priority: expected numeric (int or float), got string"));
        fits(
            json!({"spec": {"nodeName": 1}}),
            Err(".spec.nodeName: expected string, got &value.valueUnstructured{Value:1}"),
        );
        fits(json!({"spec": {"hostNetwork": "yes"}}), Err(".spec.hostNetwork: expected boolean, got &{yes}"));
        fits(json!({"spec": []}), Err(".spec: expected map, got &{[]}"));
        fits(json!({"spec": {"args": {"a": 1}}}), Err(".spec.args: expected list, got &{map[a:1]}"));
        fits(json!({"foo": 1}), Err(".foo: field not declared in schema"));
        fits(
            json!({"foo": 1, "bar": 1}),
            Err("errors:\n  .bar: field not declared in schema\n  .foo: field not declared in schema"),
        );
    }

    #[test]
    fn list_elements_need_a_key_of_their_own() {
        fits(
            json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}),
            Err(".spec.containers: duplicate entries for key [name=\"a\"]"),
        );
        fits(json!({"spec": {"containers": [{"image": "a"}]}}), Ok(()));
        fits(
            json!({"spec": {"containers": [null]}}),
            Err(".spec.containers: element 0: associative list with keys may not have a null element"),
        );
        fits(
            json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 1, "x": 1}]}]}}),
            Err(".spec.containers[name=\"a\"].ports[containerPort=1,protocol=\"TCP\"].x: field not declared in schema"),
        );
    }
}
