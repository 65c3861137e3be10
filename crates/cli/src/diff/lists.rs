//! Lists that merge: by a key, or as sets of plain values.

use backstay_api::schema::{PatchStrategy, Type};
use serde_json::{Map, Value, json};

use super::{Differ, States, object};

impl Differ {
    pub(super) fn list(
        &self,
        name: &str,
        ty: Option<&Type>,
        strategy: &PatchStrategy,
        states: &States<'_>,
        patch: &mut Map<String, Value>,
    ) -> Result<(), String> {
        let element = match ty {
            Some(Type::List { element, .. }) => Some(&**element),
            _ => None,
        };
        match &strategy.merge_key {
            None => plain(name, states, patch),
            Some(key) => {
                let lists = Keyed { key, strategy, element };
                if has_doubles(key, items(states.modified)) || has_doubles(key, items(states.current)) {
                    replaced(name, states, patch);
                } else {
                    self.keyed(name, &lists, states, patch)?;
                }
            }
        }
        Ok(())
    }

    fn keyed(
        &self,
        name: &str,
        lists: &Keyed<'_>,
        states: &States<'_>,
        patch: &mut Map<String, Value>,
    ) -> Result<(), String> {
        let (modified, current) = (items(states.modified), items(states.current));
        let original = states.original.map(items).unwrap_or_default();
        let mut changes = Vec::new();
        for item in modified {
            let key = lists.key_of(item)?;
            let Some(present) = lists.find(current, key) else {
                changes.push(item.clone());
                continue;
            };
            let before = lists.find(original, key).map_or_else(|| object(&Value::Null), object);
            let mut inner = self.maps(lists.element, before, object(item), object(present))?;
            if inner.is_empty() {
                continue;
            }
            if lists.strategy.retain_keys {
                inner.insert("$retainKeys".into(), object(item).keys().cloned().collect());
            }
            inner.insert(lists.key.to_string(), key.clone());
            changes.push(Value::Object(inner));
        }
        for item in original {
            let key = lists.key_of(item)?;
            if lists.find(modified, key).is_none() && lists.find(current, key).is_some() {
                changes.push(json!({"$patch": "delete", lists.key: key}));
            }
        }
        let order = |list: &[Value]| -> Vec<Value> {
            let keys = list.iter().filter_map(|item| item.get(lists.key));
            keys.filter(|key| lists.find(modified, key).is_some() && lists.find(current, key).is_some())
                .cloned()
                .collect()
        };
        if changes.is_empty() && order(modified) == order(current) {
            return Ok(());
        }
        let wanted: Vec<Value> = modified.iter().map(|item| json!({lists.key: item[lists.key]})).collect();
        patch.insert(format!("$setElementOrder/{name}"), wanted.into());
        if !changes.is_empty() {
            patch.insert(name.to_string(), changes.into());
        }
        Ok(())
    }
}

struct Keyed<'a> {
    key: &'a str,
    strategy: &'a PatchStrategy,
    element: Option<&'a Type>,
}

impl Keyed<'_> {
    fn key_of<'v>(&self, item: &'v Value) -> Result<&'v Value, String> {
        item.get(self.key).ok_or_else(|| {
            let shown = backstay_rollout::go::plain(item);
            format!("map: {shown} does not contain declared merge key: {}", self.key)
        })
    }

    fn find<'v>(&self, list: &'v [Value], key: &Value) -> Option<&'v Value> {
        list.iter().find(|item| item.get(self.key) == Some(key))
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn has_doubles(key: &str, list: &[Value]) -> bool {
    list.iter().enumerate().any(|(index, item)| {
        item.get(key).is_some() && list[..index].iter().any(|earlier| earlier.get(key) == item.get(key))
    })
}

/// The key does not tell the elements apart, so the list can only be replaced as a whole; unless all that is wanted is
/// there, with what others (the server's defaults) added.
fn replaced(name: &str, states: &States<'_>, patch: &mut Map<String, Value>) {
    let (modified, current) = (items(states.modified), items(states.current));
    let fits = |(wanted, present): (&Value, &Value)| {
        object(wanted).iter().all(|(field, value)| present.get(field) == Some(value))
    };
    let unchanged = states.original.is_none_or(|original| original == states.modified);
    if unchanged && modified.len() == current.len() && modified.iter().zip(current).all(fits) {
        return;
    }
    let mut list = modified.to_vec();
    list.push(json!({"$patch": "replace"}));
    patch.insert(name.to_string(), list.into());
}

fn plain(name: &str, states: &States<'_>, patch: &mut Map<String, Value>) {
    let (modified, current) = (items(states.modified), items(states.current));
    let original = states.original.map(items).unwrap_or_default();
    let added: Vec<Value> = modified.iter().filter(|item| !current.contains(item)).cloned().collect();
    let gone: Vec<Value> =
        original.iter().filter(|item| !modified.contains(item) && current.contains(item)).cloned().collect();
    if added.is_empty() && gone.is_empty() {
        return;
    }
    patch.insert(format!("$setElementOrder/{name}"), modified.to_vec().into());
    if !added.is_empty() {
        patch.insert(name.to_string(), added.into());
    }
    if !gone.is_empty() {
        patch.insert(format!("$deleteFromPrimitiveList/{name}"), gone.into());
    }
}
