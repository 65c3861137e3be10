//! Lists that are sets or maps: no element may occur twice.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::walk;
use crate::canonical::json_text;
use crate::crd::props::{ListType, Props};
use crate::validation::field::{Causes, Path, duplicate};

/// A cause for every element that repeats an earlier one.
pub fn duplicates(props: &Props, value: &Value, path: &str) -> Causes {
    let mut causes = Vec::new();
    walk(props, value, path, &mut |props, value, path| {
        if let Value::Array(items) = value
            && props.items.is_some()
        {
            repeated(&mut causes, props, items, path);
        }
    });
    causes
}

fn repeated(causes: &mut Causes, props: &Props, items: &[Value], path: &str) {
    let key = |item: &Value| match props.list_type {
        ListType::Atomic => None,
        ListType::Set => Some(item.clone()),
        ListType::Map => {
            let keys = props.list_keys.iter();
            let key = keys.filter_map(|name| Some((name.clone(), item.get(name)?.clone())));
            Some(Value::Object(key.collect::<Map<_, _>>()))
        }
    };
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let Some(key) = key(item) else { return };
        if !seen.insert(json_text(&key)) {
            causes.push(duplicate(&Path::new(path).index(index), key));
        }
    }
}

/// The first element that repeats an earlier one.
pub fn first_duplicate(items: &[Value]) -> Option<&Value> {
    let mut seen = BTreeSet::new();
    items.iter().find(|item| !seen.insert(json_text(item)))
}
