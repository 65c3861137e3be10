use serde_json::{Value, json};

use crate::crd::tests::{definition, object, shown, widget};
use crate::crd::validate_create;

/// A schema of `spec` with these fields and rules.
fn schema(fields: Value, rules: Value) -> Value {
    json!({"type": "object", "properties": fields, "x-kubernetes-validations": rules})
}

/// What is said of a spec under a schema, after it was another one: causes, and warnings with a `~`.
#[track_caller]
fn check_update(schema: Value, old: Option<Value>, new: Value, expected: &[&str]) {
    let old = old.map(object);
    let found = widget(schema).validate(&object(new), old.as_ref());
    let warnings = found.warnings.into_iter().map(|text| format!("~{text}"));
    let said: Vec<String> = shown(found.causes).into_iter().chain(warnings).collect();
    assert_eq!(said, expected);
}

#[track_caller]
fn check(fields: Value, rule: &str, new: Value, expected: &[&str]) {
    check_update(schema(fields, json!([{"rule": rule}])), None, new, expected);
}

#[test]
fn rules_are_obeyed() {
    let fields = json!({"min": {"type": "integer"}, "max": {"type": "integer"}});
    check(fields.clone(), "self.min <= self.max", json!({"min": 1, "max": 2}), &[]);
    check(
        fields.clone(),
        "self.min <= self.max",
        json!({"min": 3, "max": 2}),
        &["spec: Invalid value: failed rule: self.min <= self.max"],
    );
    check(
        fields.clone(),
        "self.min <= self.max",
        json!({"min": 3}),
        &["spec: Invalid value: \"object\": no such key: max evaluating rule: self.min <= self.max"],
    );
    check(fields, "!has(self.max) || self.min <= self.max", json!({"min": 3}), &[]);
}

#[test]
fn messages_are_said() {
    #[track_caller]
    fn check(rule: Value, expected: &str) {
        let mut rule = rule;
        rule["rule"] = "self.size > 5".into();
        let fields =
            json!({"size": {"type": "integer"}, "map": {"type": "object", "additionalProperties": {"type": "string"}}});
        check_update(schema(fields, json!([rule])), None, json!({"size": 3}), &[expected]);
    }
    check(json!({"message": " too small "}), "spec: Invalid value: too small");
    check(json!({"messageExpression": "'got %d'.format([self.size])"}), "spec: Invalid value: got 3");
    check(json!({"message": "m", "messageExpression": "'%d'.format([self.size / 0])"}), "spec: Invalid value: m");
    check(json!({"messageExpression": "''"}), "spec: Invalid value: failed rule: self.size > 5");
    check(json!({"message": "m", "reason": "FieldValueForbidden"}), "spec: Forbidden: m");
    check(json!({"message": "m", "reason": "FieldValueRequired"}), "spec: Required value: m");
    check(json!({"message": "m", "reason": "FieldValueDuplicate"}), "spec: Duplicate value");
    check(json!({"message": "m", "fieldPath": ".size"}), "spec.size: Invalid value: m");
    check(json!({"message": "m", "fieldPath": ".map['a.b']"}), "spec.map[a.b]: Invalid value: m");
}

#[test]
fn scalars_are_shown() {
    let at = |kind: &str| json!({"x": {"type": kind, "x-kubernetes-validations": [{"rule": "self != self"}]}});
    let said = |value: &str| format!("spec.x: Invalid value: {value}: failed rule: self != self");
    check(at("string"), "true", json!({"x": "a"}), &[&said("\"a\"")]);
    check(at("integer"), "true", json!({"x": 1}), &[&said("1")]);
    check(at("boolean"), "true", json!({"x": true}), &[&said("true")]);
    let list = json!({"x": {"type": "array", "items": {"type": "string"},
                            "x-kubernetes-validations": [{"rule": "self.size() > 1"}]}});
    check(list, "true", json!({"x": ["a"]}), &["spec.x: Invalid value: failed rule: self.size() > 1"]);
}

#[test]
fn values_have_the_types_of_their_schema() {
    let fields = json!({
        "number": {"type": "number"}, "port": {"x-kubernetes-int-or-string": true},
        "time": {"type": "string", "format": "date-time"}, "day": {"type": "string", "format": "date"},
        "wait": {"type": "string", "format": "duration"}, "data": {"type": "string", "format": "byte"},
        "namespace": {"type": "string"}, "a-b": {"type": "string"}, "a.b/c": {"type": "string"},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "maybe": {"type": "string", "nullable": true},
        "any": {"x-kubernetes-preserve-unknown-fields": true},
        "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    });
    let spec = json!({"number": 2, "port": "http", "time": "2026-01-02T03:04:05Z", "day": "2026-01-02", "wait": "90s",
        "data": "aGk=", "namespace": "n", "a-b": "d", "a.b/c": "e", "map": {"k-l": 1}, "maybe": null, "any": 1,
        "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}}, "set": ["b", "a"]});
    for rule in [
        "self.number / 4.0 == 0.5",
        "self.port == 'http' || self.port == 80",
        "type(self.port) == string ? self.port.size() == 4 : self.port > 0",
        "self.time.getFullYear() == 2026 && self.time > self.day",
        "self.wait == duration('1m30s')",
        "self.data == b'hi' && string(self.data) == 'hi'",
        "self.__namespace__ == 'n' && self.a__dash__b == 'd' && self.a__dot__b__slash__c == 'e'",
        "self.map['k-l'] == 1 && self.map.all(k, self.map[k] > 0)",
        "has(self.maybe)",
        "self.pod.kind == 'Pod' && self.pod.metadata.name == 'p'",
        "self.set == ['b', 'a'] && (self.set + ['a', 'c']).size() == 3",
    ] {
        check(fields.clone(), rule, spec.clone(), &[]);
    }
}

#[test]
fn the_root_knows_its_name() {
    let mut definition = definition(json!({"type": "object"}));
    let root = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    root["x-kubernetes-validations"] = json!([{"rule": "self.metadata.name.startsWith('x') && self.kind == 'Widget'"}]);
    assert_eq!(validate_create(&definition), []);
    definition["status"] = crate::crd::status(&definition, [], "2026-01-01T00:00:00Z".parse().unwrap());
    let widget = crate::crd::compile(&definition).remove(0);
    let said = "<nil>: Invalid value: failed rule: self.metadata.name.startsWith('x') && self.kind == 'Widget'";
    assert_eq!(shown(widget.validate(&object(json!({})), None).causes), [said]);
    let mut fine = object(json!({}));
    fine["metadata"]["name"] = "x1".into();
    assert_eq!(widget.validate(&fine, None).causes, []);
}

#[test]
fn transitions_are_checked() {
    let immutable = json!([{"rule": "self == oldSelf", "message": "immutable"}]);
    let fields = json!({"name": {"type": "string", "x-kubernetes-validations": immutable}});
    let spec = || schema(fields.clone(), json!([]));
    check_update(spec(), None, json!({"name": "a"}), &[]);
    check_update(spec(), Some(json!({"name": "a"})), json!({"name": "a"}), &[]);
    check_update(spec(), Some(json!({})), json!({"name": "a"}), &[]);
    check_update(
        spec(),
        Some(json!({"name": "a"})),
        json!({"name": "b"}),
        &["spec.name: Invalid value: \"b\": immutable"],
    );
    let once = json!([{"rule": "oldSelf.hasValue() || self.name == 'first'", "optionalOldSelf": true}]);
    let spec = || schema(json!({"name": {"type": "string"}}), once.clone());
    check_update(spec(), None, json!({"name": "first"}), &[]);
    check_update(
        spec(),
        None,
        json!({"name": "x"}),
        &["spec: Invalid value: failed rule: oldSelf.hasValue() || self.name == 'first'"],
    );
    check_update(spec(), Some(json!({"name": "first"})), json!({"name": "x"}), &[]);
}

#[test]
fn elements_of_lists_are_followed_by_their_keys() {
    let list = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string"},
            "size": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "shrinks"}]}}}});
    let spec = schema(json!({"parts": list}), json!([]));
    check_update(
        spec,
        Some(json!({"parts": [{"name": "a", "size": 1}, {"name": "b", "size": 5}]})),
        json!({"parts": [{"name": "b", "size": 4}, {"name": "c", "size": 0}, {"name": "a", "size": 2}]}),
        &["spec.parts[0].size: Invalid value: 4: shrinks"],
    );
}

#[test]
fn what_was_wrong_may_stay_wrong_but_is_mentioned() {
    let upper = json!([{"rule": "self == self.lowerAscii()", "message": "must be lower"}]);
    let fields = json!({
        "name": {"type": "string", "x-kubernetes-validations": upper}, "size": {"type": "integer", "maximum": 5},
        "other": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string", "x-kubernetes-validations": upper}}});
    let spec = || schema(fields.clone(), json!([]));
    let old = json!({"name": "UP", "size": 9, "tags": ["UP"]});
    check_update(
        spec(),
        Some(old.clone()),
        json!({"name": "UP", "size": 9, "tags": ["UP"], "other": "x"}),
        &["~spec.name: Invalid value: \"UP\": must be lower", "~spec.tags[0]: Invalid value: \"UP\": must be lower"],
    );
    check_update(
        spec(),
        Some(old),
        json!({"name": "UPPER", "size": 8, "tags": ["UP", "x"]}),
        &[
            "spec.size: Invalid value: 8: spec.size in body should be less than or equal to 5",
            "spec.name: Invalid value: \"UPPER\": must be lower",
            "spec.tags[0]: Invalid value: \"UP\": must be lower",
        ],
    );
}

#[test]
fn rules_wait_for_an_object_of_the_right_types() {
    let fields = json!({"size": {"type": "integer"}});
    check(
        fields,
        "self.size > 1",
        json!({"size": "a"}),
        &[
            "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; \
             correct the existing errors to complete validation",
        ],
    );
}

#[test]
fn costs_are_limited() {
    let fields = json!({"list": {"type": "array", "items": {"type": "integer"}}});
    let list: Vec<u32> = (0..1500).collect();
    check(
        fields.clone(),
        "self.list.all(x, self.list.all(y, x + y >= 0))",
        json!({"list": list}),
        &["spec: Invalid value: \"object\": 'operation cancelled: actual cost limit exceeded': no further validation \
           rules will be run due to call cost exceeds limit for rule: self.list.all(x, self.list.all(y, x + y >= 0))"],
    );
    let list: Vec<u32> = (0..350).collect();
    let rules: Vec<Value> =
        (0..20).map(|_| json!({"rule": "self.list.all(x, self.list.all(y, x + y >= 0))"})).collect();
    check_update(
        schema(fields, Value::from(rules)),
        None,
        json!({"list": list}),
        &["spec: Invalid value: \"object\": validation failed due to running out of cost budget, no further \
           validation rules will be run"],
    );
}

#[test]
fn unlawful_rules_are_refused_with_the_definition() {
    #[track_caller]
    fn check(rule: Value, expected: &[&str]) {
        let fields = json!({
            "size": {"type": "integer"},
            "list": {"type": "array", "items": {"type": "string"}}});
        let definition = definition(schema(fields, json!([rule])));
        let at = "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0]";
        let expected: Vec<String> = expected.iter().map(|text| format!("{at}.{text}")).collect();
        assert_eq!(shown(validate_create(&definition)), expected);
    }
    let printed = |text: &str| {
        format!(
            "{{\"Rule\":{text:?},\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\
             \"OptionalOldSelf\":null}}"
        )
    };
    check(json!({"rule": "self.size > 0"}), &[]);
    check(json!({"rule": " "}), &["rule: Required value: rule is not specified"]);
    check(
        json!({"rule": "self.length > 0"}),
        &[&format!(
            "rule: Invalid value: {}: compilation failed: ERROR: <input>:1:5: undefined field 'length'\n | self.length \
             > 0\n | ....^",
            printed("self.length > 0")
        )],
    );
    check(
        json!({"rule": "self.size"}),
        &[&format!("rule: Invalid value: {}: cel expression must evaluate to a bool", printed("self.size"))],
    );
    check(
        json!({"rule": "self.size > \n0"}),
        &["message: Required value: message must be specified if rule contains line breaks"],
    );
    check(
        json!({"rule": "true", "message": " "}),
        &["message: Invalid value: \" \": message must be non-empty if specified"],
    );
    check(
        json!({"rule": "true", "reason": "Because"}),
        &["reason: Unsupported value: \"Because\": supported values: \"FieldValueDuplicate\", \
           \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\""],
    );
    check(
        json!({"rule": "true", "fieldPath": ".length"}),
        &["fieldPath: Invalid value: \".length\": fieldPath must be a valid path"],
    );
    check(
        json!({"rule": "true", "optionalOldSelf": true}),
        &["optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"],
    );
}

#[test]
fn rules_speak_only_of_the_past_of_what_can_be_followed() {
    let immutable = json!([{"rule": "self == oldSelf"}]);
    let list = json!({"type": "array", "items": {"type": "string", "x-kubernetes-validations": immutable}});
    let definition = definition(schema(json!({"list": list}), json!([])));
    let at = "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[list]";
    let said = format!(
        "{at}.items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the \
         uncorrelatable portion of the schema within {at}"
    );
    assert_eq!(shown(validate_create(&definition)), [said]);
}

#[test]
fn defaults_obey_rules() {
    let rules = json!([{"rule": "self > 5"}]);
    let definition = definition(schema(
        json!({"size": {"type": "integer", "default": 3, "x-kubernetes-validations": rules}}),
        json!([]),
    ));
    let at = "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[size].default";
    assert_eq!(shown(validate_create(&definition)), [format!("{at}: Invalid value: 3: failed rule: self > 5")]);
}
