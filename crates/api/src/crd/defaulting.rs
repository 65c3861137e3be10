//! Defaults of custom resources.

use serde_json::Value;

use super::props::Props;

/// Fills in defaults, from the outside in, and drops nulls where null is no value.
pub fn apply(props: &Props, value: &mut Value) {
    fill(props, value);
    drop_nulls(props, value);
}

fn fill(props: &Props, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, props) in &props.properties {
                if let Some(default) = &props.default
                    && fields.get(name).is_none_or(|value| is_no_value(props, value))
                {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in fields {
                if let Some(props) = props.child(name) {
                    fill_entry(props, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(props) = &props.items {
                items.iter_mut().for_each(|item| fill_entry(props, item));
            }
        }
        _ => {}
    }
}

fn fill_entry(props: &Props, value: &mut Value) {
    if let Some(default) = props.default.as_ref().filter(|_| is_no_value(props, value)) {
        *value = default.clone();
    }
    fill(props, value);
}

fn drop_nulls(props: &Props, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| props.child(name).is_none_or(|props| !is_no_value(props, value)));
            for (name, value) in fields {
                if let Some(props) = props.child(name) {
                    drop_nulls(props, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(props) = &props.items {
                items.iter_mut().for_each(|item| drop_nulls(props, item));
            }
        }
        _ => {}
    }
}

fn is_no_value(props: &Props, value: &Value) -> bool {
    value.is_null() && !props.nullable
}
