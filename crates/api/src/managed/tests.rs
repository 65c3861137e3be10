use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::GroupVersionKind;
use crate::meta::{set_meta, value_at};
use crate::resources::Subresource;
use crate::schema::{Schema, Type};
use crate::testing::{any_json, any_workload, workload};
use crate::{Status, meta};

/// One object and its history. Time goes on by a second with each write.
struct World {
    schema: Schema,
    ty: Type,
    resource: Resource,
    object: Option<Value>,
    second: i64,
    subresource: &'static str,
}

impl World {
    fn new() -> Self {
        let (schema, ty) = workload();
        Self { schema, ty, resource: resource(), object: None, second: 0, subresource: "" }
    }

    fn manager<'a>(&'a self, name: &'a str) -> Manager<'a> {
        let now = Timestamp::from_second(self.second).expect("a small number");
        Manager { name, resource: &self.resource, subresource: self.subresource, now }
    }

    /// A create or PUT of `fields`; `managedFields` that are already there go along unless `fields` has others.
    fn update(&mut self, name: &str, fields: Value) -> &mut Self {
        self.second += 1;
        let mut after = identified(fields);
        let stored = self.object.as_ref().and_then(|object| value_at(object, &["metadata", "managedFields"]));
        if let (Some(stored), None) = (stored, after.pointer("/metadata/managedFields")) {
            set_meta(&mut after, "managedFields", stored.clone());
        }
        track_update(&self.schema, &self.ty, self.object.as_ref(), &mut after, &self.manager(name));
        if let Some(before) = &self.object {
            keep_times(before, &mut after);
        }
        self.object = Some(after);
        self
    }

    fn try_apply(&mut self, name: &str, fields: Value, force: bool) -> Result<(), Status> {
        self.second += 1;
        let applied = identified(fields);
        let live = self.object.as_ref();
        let mut after = apply(&self.schema, &self.ty, live, &applied, &self.manager(name), force)?;
        drop_nulls(&mut after);
        if let Some(before) = live {
            keep_times(before, &mut after);
        }
        self.object = Some(after);
        Ok(())
    }

    #[track_caller]
    fn apply(&mut self, name: &str, fields: Value) -> &mut Self {
        self.try_apply(name, fields, false).expect("applies without conflicts");
        self
    }

    #[track_caller]
    fn force(&mut self, name: &str, fields: Value) -> &mut Self {
        self.try_apply(name, fields, true).expect("force meets no conflicts");
        self
    }

    #[track_caller]
    fn refuses(&mut self, name: &str, fields: Value, message: &str) -> &mut Self {
        let status = self.try_apply(name, fields, false).expect_err("refused");
        assert_eq!(format!("{} {}", status.code(), status.message()), message);
        self
    }

    /// Who owns what: `name operation time fields`, in the order of the object.
    fn owners(&self) -> Vec<(String, Value)> {
        let entries = meta::list_at(self.object.as_ref().expect("there is an object"), &["metadata", "managedFields"]);
        let owner = |entry: &Value| {
            let word = |field| meta::str_at(entry, &[field]);
            let second = word("time").parse::<Timestamp>().expect("a time").as_second();
            (format!("{} {} {second}", word("manager"), word("operation")), entry["fieldsV1"].clone())
        };
        entries.iter().map(owner).collect()
    }

    #[track_caller]
    fn owned(&mut self, expected: &[(&str, Value)]) -> &mut Self {
        let expected: Vec<(String, Value)> =
            expected.iter().map(|(who, what)| (who.to_string(), what.clone())).collect();
        assert_eq!(self.owners(), expected);
        self
    }

    #[track_caller]
    fn is(&mut self, field: &str, expected: Value) -> &mut Self {
        assert_eq!(self.object.as_ref().expect("there is an object")[field], expected);
        self
    }
}

fn resource() -> Resource {
    let gvk = GroupVersionKind::new("t", "v1", "Workload");
    let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect();
    Resource {
        group: "t".into(),
        version: "v1".into(),
        kind: "Workload".into(),
        plural: "workloads".into(),
        singular: "workload".into(),
        namespaced: true,
        verbs: words(&["get"]),
        short_names: words(&[]),
        categories: words(&[]),
        subresources: vec![Subresource { name: "status".into(), kind: gvk, verbs: words(&["get"]) }],
        storage: "t/workloads".into(),
        stored_as: Some(GroupVersionKind::new("t", "v1", "Workload")),
    }
}

fn identified(mut fields: Value) -> Value {
    fields["apiVersion"] = "t/v1".into();
    fields["kind"] = "Workload".into();
    set_meta(&mut fields, "name", "w");
    fields
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(drop_nulls);
    }
}

fn data(entries: Value) -> Value {
    json!({"data": entries})
}

fn owns_data(entries: Value) -> Value {
    json!({"f:data": entries})
}

#[test]
fn a_create_owns_everything_but_what_identifies() {
    World::new()
        .update(
            "m",
            json!({"metadata": {"labels": {"l": "1"}, "uid": "u"}, "data": {"a": "1"}, "status": {"phase": "x"}}),
        )
        .owned(&[(
            "m Update 1",
            json!({"f:data": {".": {}, "f:a": {}}, "f:metadata": {"f:labels": {".": {}, "f:l": {}}}}),
        )]);
}

#[test]
fn an_update_owns_what_it_changes() {
    World::new()
        .update("m1", data(json!({"a": "1", "b": "2"})))
        .update("m2", data(json!({"a": "9", "b": "2"})))
        .owned(&[
            ("m1 Update 1", owns_data(json!({".": {}, "f:b": {}}))),
            ("m2 Update 2", owns_data(json!({"f:a": {}}))),
        ])
        .update("m1", data(json!({"a": "9", "b": "2"})))
        .owned(&[
            ("m1 Update 1", owns_data(json!({".": {}, "f:b": {}}))),
            ("m2 Update 2", owns_data(json!({"f:a": {}}))),
        ])
        .update("m1", data(json!({"a": "9", "b": "2", "c": "3"})))
        .owned(&[
            ("m2 Update 2", owns_data(json!({"f:a": {}}))),
            ("m1 Update 4", owns_data(json!({".": {}, "f:b": {}, "f:c": {}}))),
        ])
        .update("m3", data(json!({"b": "2", "c": "3"})))
        .owned(&[("m1 Update 4", owns_data(json!({".": {}, "f:b": {}, "f:c": {}})))]);
}

#[test]
fn a_status_write_owns_no_spec_and_is_an_entry_of_its_own() {
    let mut world = World::new();
    world.update("m", json!({"spec": {"priority": 1}, "status": {}}));
    world.subresource = "status";
    world.update("m", json!({"spec": {"priority": 2}, "status": {"phase": "x"}})).owned(&[
        ("m Update 1", json!({"f:spec": {"f:priority": {}}})),
        ("m Update 2", json!({"f:status": {"f:phase": {}}})),
    ]);
    assert_eq!(world.object.as_ref().unwrap()["metadata"]["managedFields"][1]["subresource"], "status");
}

#[test]
fn what_a_client_sends_as_managed_fields() {
    let entry = json!({"manager": "x", "operation": "Update", "apiVersion": "t/v1", "time": "1970-01-01T00:00:09Z",
                       "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}}});
    let with = |sent: Value| json!({"metadata": {"managedFields": sent}, "data": {"a": "1", "b": "2"}});
    let mut world = World::new();
    world.update("m", data(json!({"a": "1"})));
    let ours = [("m Update 2", owns_data(json!({".": {}, "f:a": {}, "f:b": {}})))];

    world.update("m", with(json!([{"manager": "broken"}]))).owned(&ours);
    world.update("m", with(json!([entry]))).owned(&[("x Update 9", owns_data(json!({"f:a": {}})))]);
    world.update("m", with(json!([]))).owned(&[]);
    world.update("m", data(json!({"c": "3"}))).owned(&[]);
    world.apply("m1", data(json!({"d": "4"}))).owned(&[
        ("m1 Apply 6", owns_data(json!({"f:d": {}}))),
        ("before-first-apply Update 6", owns_data(json!({".": {}, "f:c": {}}))),
    ]);
    world.update("m", with(json!([{}]))).owned(&[]);
}

#[test]
fn applying_the_same_again_changes_nothing() {
    World::new()
        .apply("m1", data(json!({"a": "1"})))
        .apply("m1", data(json!({"a": "1"})))
        .owned(&[("m1 Apply 1", owns_data(json!({"f:a": {}})))]);
}

#[test]
fn applying_removes_what_is_no_longer_named_and_nobody_else_owns() {
    World::new()
        .apply("m1", data(json!({"a": "1", "b": "2"})))
        .apply("m2", data(json!({"b": "2", "c": "3"})))
        .apply("m1", data(json!({})))
        .is("data", json!({"b": "2", "c": "3"}))
        .owned(&[("m2 Apply 2", owns_data(json!({"f:b": {}, "f:c": {}}))), ("m1 Apply 3", owns_data(json!({})))])
        .apply("m2", json!({}))
        .is("data", Value::Null);
}

#[test]
fn fields_of_updaters_stay_when_an_applier_drops_them() {
    World::new()
        .apply("m1", data(json!({"a": "1", "b": "2"})))
        .update("writer", data(json!({"a": "9", "b": "2"})))
        .owned(&[("m1 Apply 1", owns_data(json!({"f:b": {}}))), ("writer Update 2", owns_data(json!({"f:a": {}})))])
        .apply("m1", data(json!({"b": "2"})))
        .is("data", json!({"a": "9", "b": "2"}));
}

#[test]
fn conflicts_are_told_and_force_takes_over() {
    World::new()
        .update("writer", data(json!({"a": "1"})))
        .refuses(
            "m2",
            data(json!({"a": "2", "b": "3"})),
            "409 Apply failed with 1 conflict: conflict with \"writer\" using t/v1: .data.a",
        )
        .apply("m3", data(json!({"a": "1"})))
        .refuses(
            "m2",
            data(json!({"a": "2"})),
            "409 Apply failed with 2 conflicts: conflicts with \"m3\":\n- .data.a\nconflicts with \"writer\" using t/v1:\n- .data.a",
        )
        .force("m2", data(json!({"a": "2"})))
        .owned(&[("m2 Apply 5", owns_data(json!({"f:a": {}}))), ("writer Update 1", owns_data(json!({})))]);
}

#[test]
fn a_conflict_names_its_field_as_a_cause() {
    let mut world = World::new();
    world.apply("m1", json!({"spec": {"containers": [{"name": "a", "image": "1"}]}}));
    world.subresource = "scale";
    let other = json!({"spec": {"containers": [{"name": "a", "image": "2"}]}});
    let status = world.try_apply("m1", other, false).expect_err("another entry, though the same name");
    assert_eq!(
        status.to_json()["details"],
        json!({"causes": [{"reason": "FieldManagerConflict", "message": "conflict with \"m1\"",
                           "field": ".spec.containers[name=\"a\"].image"}]})
    );
}

#[test]
fn elements_of_keyed_lists_have_owners() {
    let containers = |items: Value| json!({"spec": {"containers": items}});
    World::new()
        .apply("m1", containers(json!([{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}])))
        .apply("m2", containers(json!([{"name": "side", "image": "s:1"}])))
        .apply("m1", containers(json!([{"name": "b", "image": "b:2"}, {"name": "c", "image": "c:1"}])))
        .is(
            "spec",
            json!({"containers": [
            {"name": "b", "image": "b:2"}, {"name": "side", "image": "s:1"}, {"name": "c", "image": "c:1"}]}),
        )
        .apply("m2", json!({}))
        .is("spec", json!({"containers": [{"name": "b", "image": "b:2"}, {"name": "c", "image": "c:1"}]}));
}

#[test]
fn ports_are_keyed_by_port_and_protocol() {
    let ports = |items: Value| json!({"spec": {"containers": [{"name": "a", "ports": items}]}});
    World::new()
        .apply("m1", ports(json!([{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}])))
        .apply("m1", ports(json!([{"containerPort": 53, "protocol": "UDP"}])))
        .is("spec", json!({"containers": [{"name": "a", "ports": [{"containerPort": 53, "protocol": "UDP"}]}]}));
}

#[test]
fn an_applied_status_is_not_owned_through_the_main_resource() {
    let mut world = World::new();
    world.apply("m1", json!({"data": {"a": "1"}, "status": {"phase": "x"}}));
    world.owned(&[("m1 Apply 1", owns_data(json!({"f:a": {}})))]);
    world.subresource = "status";
    world.apply("m2", json!({"status": {"phase": "y"}, "spec": {"priority": 7}}));
    world.owned(&[("m1 Apply 1", owns_data(json!({"f:a": {}}))), ("m2 Apply 2", json!({"f:status": {"f:phase": {}}}))]);
}

#[test]
fn bodies_that_cannot_be_applied() {
    let mut world = World::new();
    world.refuses("m", json!({"metadata": {"managedFields": []}}), "400 metadata.managedFields must be nil");
    world.refuses(
        "m",
        json!({"spec": {"priority": "x"}}),
        "500 failed to create typed patch object (/w; t/v1, Kind=Workload): .spec.priority: expected numeric (int or float), got string",
    );
    world.refuses(
        "m",
        json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}),
        "500 failed to create typed patch object (/w; t/v1, Kind=Workload): .spec.containers: duplicate entries for key [name=\"a\"]",
    );
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let refused = apply(&world.schema, &world.ty, None, &other, &world.manager("m"), true).expect_err("another kind");
    assert_eq!(refused.message(), "invalid object type: /v1, Kind=ConfigMap");
}

#[test]
fn kubectl_takes_over_what_its_client_side_apply_wrote() {
    let annotated = |entries: Value, last: Value| {
        let last = identified(data(last)).to_string();
        json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": last}}, "data": entries})
    };
    let mut world = World::new();
    world.update("kubectl-client-side-apply", annotated(json!({"a": "1"}), json!({"a": "1"})));
    let mut other = data(json!({"a": "2"}));
    world.refuses(
        "someone",
        other.clone(),
        "409 Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using t/v1: .data.a",
    );
    world.apply("kubectl", other.clone()).is("data", json!({"a": "2"}));
    other = identified(other);
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let renewed = meta::annotation(world.object.as_ref().unwrap(), annotation).map(str::to_string);
    assert_eq!(renewed, Some(format!("{other}\n")));

    world.update("someone", annotated(json!({"a": "3"}), json!({"a": "2"})));
    world.refuses(
        "kubectl",
        data(json!({"a": "4"})),
        "409 Apply failed with 1 conflict: conflict with \"someone\" using t/v1: .data.a",
    );
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(live in any_workload(), applied in any_workload()) {
        let mut world = World::new();
        world.update("creator", live);
        world.force("m", applied.clone());
        let once = world.object.clone();
        world.apply("m", applied);
        prop_assert_eq!(&world.object, &once);
    }

    #[test]
    fn a_forced_apply_owns_what_it_names_and_nobody_else_what_it_changed(a in any_workload(), b in any_workload()) {
        let mut world = World::new();
        world.apply("m1", a);
        world.force("m2", b.clone());
        let entries = world.object.as_ref().unwrap()["metadata"]["managedFields"].clone();
        let managers = entries::Managers::read(Some(&entries)).unwrap();
        let node = shape::Node::root(&world.schema, &world.ty);
        let reset = reset_fields(&world.resource, "");
        let named = extract::field_set(node, &identified(b)).without(&reset).difference(unowned());
        let identity = Identity::new("m2", Operation::Apply, "", "");
        let owned = managers.by_identity.get(&identity).map(|owned| owned.fields.clone()).unwrap_or_default();
        prop_assert_eq!(owned, named);
        world.apply("m2", json!({}));
        prop_assert_eq!(world.try_apply("m3", json!({}), false), Ok(()));
    }

    #[test]
    fn updates_share_out_all_fields_without_overlap(versions in proptest::collection::vec(any_workload(), 1..5)) {
        let mut world = World::new();
        for (index, mut version) in versions.into_iter().enumerate() {
            // An object that nobody owns anything of would not be tracked any more.
            meta::map_mut(&mut version, &["data"]).insert("always".into(), "here".into());
            world.update(&format!("m{}", index % 3), version);
        }
        let entries = world.object.as_ref().unwrap()["metadata"]["managedFields"].clone();
        let managers = entries::Managers::read(Some(&entries)).unwrap();
        let sets: Vec<FieldSet> = managers.by_identity.into_values().map(|owned| owned.fields).collect();
        for (index, set) in sets.iter().enumerate() {
            prop_assert!(sets[index + 1..].iter().all(|other| set.intersection(other).is_empty()));
        }
        let mut object = world.object.clone().unwrap();
        meta::remove_meta(&mut object, "managedFields");
        let node = shape::Node::root(&world.schema, &world.ty);
        let all = sets.iter().fold(FieldSet::default(), |all, set| all.union(set));
        let present = extract::field_set(node, &object).without(&reset_fields(&world.resource, "")).difference(unowned());
        prop_assert!(present.difference(&all).is_empty(), "{:?}", present.difference(&all).paths());
    }

    #[test]
    fn nothing_panics(before in any_json(), after in any_json(), managed in any_json()) {
        let world = World::new();
        for wrap in [|value: Value| value, |value: Value| json!({"spec": {"containers": value}, "data": 1})] {
            let mut before = wrap(before.clone());
            if before.is_object() {
                set_meta(&mut before, "managedFields", json!([managed]));
            }
            let mut updated = wrap(after.clone());
            track_update(&world.schema, &world.ty, Some(&before), &mut updated, &world.manager("m"));
            keep_times(&before, &mut updated);
            let mut applied = wrap(after.clone());
            let _ = apply(&world.schema, &world.ty, Some(&before), &applied, &world.manager("m"), true);
            if applied.is_object() {
                applied = identified(applied);
                let _ = apply(&world.schema, &world.ty, Some(&before), &applied, &world.manager("m"), true);
                let _ = apply(&world.schema, &world.ty, None, &applied, &world.manager("kubectl"), false);
            }
        }
    }
}
