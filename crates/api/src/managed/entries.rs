//! The entries of `metadata.managedFields`: who owns which fields since when.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::fields_v1;
use super::set::FieldSet;
use crate::meta::str_at;
use crate::time::seconds;

/// As in Kubernetes: beyond this many `Update` entries the oldest are merged into one of nobody in particular.
const UPDATE_MANAGERS_MAX: usize = 10;
const ANCIENT_CHANGES: &str = "ancient-changes";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

/// What makes two writes count as the same manager's. Appliers keep their entry when they change the version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    pub name: String,
    pub operation: Operation,
    /// Empty for appliers.
    pub api_version: String,
    pub subresource: String,
}

impl Identity {
    pub fn new(name: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        let api_version = if operation == Operation::Apply { "" } else { api_version };
        Self { name: name.into(), operation, api_version: api_version.into(), subresource: subresource.into() }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Owned {
    pub fields: FieldSet,
    /// The version in whose terms the fields are.
    pub api_version: String,
    pub time: Option<Timestamp>,
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managers {
    pub by_identity: BTreeMap<Identity, Owned>,
}

impl Managers {
    /// Reads `managedFields`; none: nobody.
    ///
    /// # Errors
    /// What is wrong with the first entry that is malformed.
    pub fn read(entries: Option<&Value>) -> Result<Self, String> {
        let entries = entries.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let by_identity = entries.iter().enumerate().map(|(index, entry)| read_entry(index, entry));
        Ok(Self { by_identity: by_identity.collect::<Result<_, _>>()? })
    }

    /// Writes them in Kubernetes' order: appliers first, then by time, manager, version and subresource.
    pub fn write(&self) -> Vec<Value> {
        let mut entries: Vec<(&Identity, &Owned)> = self.by_identity.iter().collect();
        entries.sort_by_key(|(identity, owned)| {
            let Identity { name, operation, subresource, .. } = identity;
            (*operation, owned.time.map_or(0, Timestamp::as_second), name, &owned.api_version, subresource)
        });
        entries.into_iter().map(write_entry).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.by_identity.is_empty()
    }

    /// Takes fields away from everyone but `except`; whoever has none left goes.
    pub fn disown(&mut self, fields: &FieldSet, except: Option<&Identity>) {
        for (identity, owned) in &mut self.by_identity {
            if Some(identity) != except {
                owned.fields.subtract(fields);
            }
        }
        self.by_identity.retain(|_, owned| !owned.fields.is_empty());
    }

    /// Merges the oldest `Update` entries of each version into one, until there are not too many.
    pub fn cap(&mut self) {
        let updates = self.by_identity.iter().filter(|(identity, _)| identity.operation == Operation::Update);
        let mut oldest_first: Vec<(i64, Identity)> =
            updates.map(|(identity, owned)| (owned.time.map_or(0, Timestamp::as_second), identity.clone())).collect();
        oldest_first.sort();
        let mut excess = oldest_first.len().saturating_sub(UPDATE_MANAGERS_MAX);
        let mut first_of_version: BTreeMap<String, Identity> = BTreeMap::new();
        for (_, identity) in oldest_first {
            if excess == 0 {
                return;
            }
            let version = self.by_identity[&identity].api_version.clone();
            let Some(first) = first_of_version.get(&version) else {
                first_of_version.insert(version, identity);
                continue;
            };
            let bucket = Identity::new(ANCIENT_CHANGES, Operation::Update, &version, "");
            if !self.by_identity.contains_key(&bucket) {
                let owned = self.by_identity.remove(first).expect("still there: it was not merged away");
                self.by_identity.insert(bucket.clone(), owned);
            }
            if identity != bucket {
                self.merge_into(&bucket, &identity);
                excess -= 1;
            }
        }
    }

    /// The bucket takes the time of what is merged into it, which is more recent.
    fn merge_into(&mut self, bucket: &Identity, identity: &Identity) {
        let merged = self.by_identity.remove(identity).expect("listed just before");
        let bucket = self.by_identity.get_mut(bucket).expect("made just before");
        bucket.fields.absorb(merged.fields);
        bucket.time = merged.time;
    }
}

fn read_entry(index: usize, entry: &Value) -> Result<(Identity, Owned), String> {
    let operation = match str_at(entry, &["operation"]) {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err("operation must be `Apply` or `Update`".into()),
    };
    let api_version = str_at(entry, &["apiVersion"]);
    if api_version.is_empty() {
        return Err("apiVersion must not be empty".into());
    }
    match str_at(entry, &["fieldsType"]) {
        "FieldsV1" => {}
        "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
        other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {index}")),
    }
    let fields = match entry.get("fieldsV1").filter(|fields| !fields.is_null()) {
        Some(fields) => fields_v1::read(fields).map_err(|why| format!("error decoding versioned set: {why}"))?,
        None => FieldSet::default(),
    };
    let time = str_at(entry, &["time"]).parse().ok();
    let identity = Identity::new(str_at(entry, &["manager"]), operation, api_version, str_at(entry, &["subresource"]));
    Ok((identity, Owned { fields, api_version: api_version.into(), time }))
}

fn write_entry((identity, owned): (&Identity, &Owned)) -> Value {
    let mut entry = Map::new();
    let mut set = |name: &str, value: Value| entry.insert(name.to_string(), value);
    if !identity.name.is_empty() {
        set("manager", identity.name.as_str().into());
    }
    set("operation", format!("{:?}", identity.operation).into());
    set("apiVersion", owned.api_version.as_str().into());
    if let Some(time) = owned.time {
        set("time", seconds(time).into());
    }
    set("fieldsType", "FieldsV1".into());
    set("fieldsV1", fields_v1::write(&owned.fields));
    if !identity.subresource.is_empty() {
        set("subresource", json!(identity.subresource));
    }
    Value::Object(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(name: &str, second: i64, field: &str) -> (Identity, Owned) {
        let fields = FieldSet::of_fields(&[&[field]]);
        let time = Timestamp::from_second(second).ok();
        let identity = Identity::new(name, Operation::Update, "v1", "");
        (identity, Owned { fields, api_version: "v1".into(), time })
    }

    #[test]
    fn the_oldest_updates_are_merged_when_there_are_too_many() {
        let mut managers = Managers::default();
        for index in 0..12 {
            managers.by_identity.extend([update(&format!("m{index:02}"), 100 - index, &format!("f{index}"))]);
        }
        managers.cap();
        assert_eq!(managers.by_identity.len(), UPDATE_MANAGERS_MAX);
        let bucket = &managers.by_identity[&Identity::new(ANCIENT_CHANGES, Operation::Update, "v1", "")];
        assert_eq!(bucket.fields, FieldSet::of_fields(&[&["f11"], &["f10"], &["f9"]]));
        assert_eq!(bucket.time, Timestamp::from_second(91).ok());

        managers.by_identity.extend([update("late", 200, "late")]);
        managers.cap();
        assert_eq!(managers.by_identity.len(), UPDATE_MANAGERS_MAX);
        assert!(managers.by_identity.contains_key(&Identity::new("late", Operation::Update, "v1", "")));
    }

    #[test]
    fn appliers_are_not_counted() {
        let mut managers = Managers::default();
        for index in 0..12 {
            let (mut identity, owned) = update(&format!("m{index}"), index, "f");
            identity.operation = Operation::Apply;
            managers.by_identity.insert(identity, owned);
        }
        managers.cap();
        assert_eq!(managers.by_identity.len(), 12);
    }

    #[test]
    fn entries_are_ordered_by_operation_then_time() {
        let mut managers = Managers::default();
        managers.by_identity.extend([update("a", 20, "x"), update("b", 10, "x")]);
        let (_, owned) = update("", 30, "x");
        managers.by_identity.insert(Identity::new("c", Operation::Apply, "v1", "status"), owned);
        let written = managers.write();
        let names: Vec<&str> = written.iter().map(|entry| str_at(entry, &["manager"])).collect();
        assert_eq!(names, ["c", "b", "a"]);
        assert_eq!(
            written[0],
            json!({"manager": "c", "operation": "Apply", "apiVersion": "v1", "time": "1970-01-01T00:00:30Z",
                   "fieldsType": "FieldsV1", "fieldsV1": {"f:x": {}}, "subresource": "status"}),
        );
        assert_eq!(Managers::read(Some(&written.into())), Ok(managers));
    }

    #[test]
    fn malformed_entries_are_errors() {
        let read = |entry: Value| Managers::read(Some(&json!([entry]))).expect_err("malformed");
        assert_eq!(read(json!({})), "operation must be `Apply` or `Update`");
        assert_eq!(read(json!({"operation": "Update"})), "apiVersion must not be empty");
        let entry = json!({"operation": "Update", "apiVersion": "v1"});
        assert_eq!(read(entry), "missing fieldsType in managed fields entry 0");
    }
}
