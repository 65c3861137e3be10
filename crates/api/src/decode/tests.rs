use serde_json::{Value, json};

use super::{Decoded, FieldValidation, json as decode_json, value, yaml};
use crate::schema::{self, Type};
use crate::{GroupVersionKind, Status};

fn type_of(api_version: &str, kind: &str) -> Type {
    let gvk = GroupVersionKind::from_api_version(api_version, kind).expect("a version");
    schema::type_of(&gvk).expect("a known kind")
}

fn decode(api_version: &str, kind: &str, body: &str) -> Result<Decoded, Status> {
    decode_json(schema::builtin(), &type_of(api_version, kind), body.as_bytes())
}

/// The object without `apiVersion` and `kind`, its problems, or the message of the refusal.
fn check(api_version: &str, kind: &str, body: &str, expected: &str) {
    let actual = match decode(api_version, kind, body) {
        Err(status) => status.message().to_string(),
        Ok(Decoded { mut object, problems }) => {
            let fields = object.as_object_mut().expect("an object");
            fields.remove("apiVersion");
            fields.remove("kind");
            [vec![object.to_string()], problems].concat().join("\n")
        }
    };
    assert_eq!(actual, expected, "{body}");
}

#[test]
fn empty_values_are_as_go_writes_them() {
    check(
        "v1",
        "Pod",
        r#"{"metadata":{"name":"p","labels":{},"creationTimestamp":null,"annotations":null},"spec":{"hostNetwork":false,
            "nodeName":"","tolerations":[],"terminationGracePeriodSeconds":0,"enableServiceLinks":false,
            "containers":[{"name":"m","env":[{"name":"A","value":""}],"securityContext":{},"command":[],
            "envFrom":[{"configMapRef":{"name":"c","optional":false}}]}],
            "volumes":[{"name":"v","emptyDir":{}},{"name":"h","hostPath":{"path":"/x","type":""}},{"name":"g","hostPath":null}]}}"#,
        r#"{"metadata":{"name":"p"},"spec":{"containers":[{"env":[{"name":"A"}],"envFrom":[{"configMapRef":{"name":"c","optional":false}}],"name":"m","resources":{},"securityContext":{}}],"enableServiceLinks":false,"terminationGracePeriodSeconds":0,"volumes":[{"emptyDir":{},"name":"v"},{"hostPath":{"path":"/x","type":""},"name":"h"},{"name":"g"}]},"status":{}}"#,
    );
    check(
        "apps/v1",
        "DaemonSet",
        "{}",
        r#"{"metadata":{},"spec":{"selector":null,"template":{"metadata":{},"spec":{"containers":null}},"updateStrategy":{}},"status":{"currentNumberScheduled":0,"desiredNumberScheduled":0,"numberMisscheduled":0,"numberReady":0}}"#,
    );
    check("rbac.authorization.k8s.io/v1", "ClusterRole", r#"{"rules":[]}"#, r#"{"metadata":{},"rules":null}"#);
    check(
        "v1",
        "Event",
        r#"{"involvedObject":{"kind":"Pod"},"eventTime":"2026-11-23T17:08:18.5Z"}"#,
        r#"Event in version "v1" cannot be handled as a Event: parsing time "2026-11-23T17:08:18.5Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse ".5Z" as ".000000""#,
    );
    check(
        "v1",
        "Event",
        r#"{"firstTimestamp":"2026-11-23T17:08:18.5+01:00","count":0}"#,
        r#"{"eventTime":null,"firstTimestamp":"2026-11-23T16:08:18Z","involvedObject":{},"lastTimestamp":null,"metadata":{},"reportingComponent":"","reportingInstance":"","source":{}}"#,
    );
}

#[test]
fn scalars_are_canonical() {
    check(
        "v1",
        "ResourceQuota",
        r#"{"spec":{"hard":{"cpu":0.5,"memory":"1024Mi","pods":"10","x":null}}}"#,
        r#"{"metadata":{},"spec":{"hard":{"cpu":"500m","memory":"1Gi","pods":"10","x":"0"}},"status":{}}"#,
    );
    check("v1", "Secret", r#"{"data":{"a":"aGVs\nbG8=","b":""}}"#, r#"{"data":{"a":"aGVsbG8=","b":""},"metadata":{}}"#);
    check(
        "v1",
        "Service",
        r#"{"spec":{"ports":[{"port":80,"targetPort":"http"},{"port":81,"targetPort":81},{"port":82}]}}"#,
        r#"{"metadata":{},"spec":{"ports":[{"port":80,"targetPort":"http"},{"port":81,"targetPort":81},{"port":82,"targetPort":0}]},"status":{"loadBalancer":{}}}"#,
    );
}

#[test]
fn unknown_and_repeated_fields_are_problems() {
    check(
        "apps/v1",
        "DaemonSet",
        r#"{"spec":{"template":{"spec":{"bar":{"x":1,"x":2},"containers":[{"name":"a"},{"Name":"b"}]}},"selector":{},"foo":1,"foo":2}}"#,
        "{\"metadata\":{},\"spec\":{\"selector\":{},\"template\":{\"metadata\":{},\"spec\":{\"containers\":[{\"name\":\"a\",\"resources\":{}},{\"name\":\"\",\"resources\":{}}]}},\"updateStrategy\":{}},\"status\":{\"currentNumberScheduled\":0,\"desiredNumberScheduled\":0,\"numberMisscheduled\":0,\"numberReady\":0}}\
         \nunknown field \"spec.template.spec.bar\"\nunknown field \"spec.template.spec.containers[1].Name\"\nunknown field \"spec.foo\"",
    );
    check(
        "v1",
        "ConfigMap",
        r#"{"metadata":{"name":"c","name":"d"},"data":{"a":"1","a":"2"},"data":{"b":"3"}}"#,
        "{\"data\":{\"a\":\"2\",\"b\":\"3\"},\"metadata\":{\"name\":\"d\"}}\
         \nduplicate field \"metadata.name\"\nduplicate field \"data.a\"\nduplicate field \"data\"",
    );
    let decoded = decode("v1", "ConfigMap", r#"{"foo":1}"#).expect("an object");
    let gvk = GroupVersionKind::new("", "v1", "ConfigMap");
    assert_eq!(
        decoded.strict_error(&gvk).expect("a refusal").message(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"foo\""
    );
}

#[test]
fn values_of_the_wrong_type() {
    let refused = |body: &str, why: &str| {
        let why = format!("DaemonSet in version \"v1\" cannot be handled as a DaemonSet: {why}");
        check("apps/v1", "DaemonSet", body, &why);
    };
    refused(
        r#"{"spec":{"minReadySeconds":"5"}}"#,
        "json: cannot unmarshal string into Go struct field DaemonSetSpec.spec.minReadySeconds of type int32",
    );
    refused(
        r#"{"spec":{"minReadySeconds":1.5,"selector":[]}}"#,
        "json: cannot unmarshal number 1.5 into Go struct field DaemonSetSpec.spec.minReadySeconds of type int32",
    );
    refused(
        r#"{"spec":{"minReadySeconds":3000000000}}"#,
        "json: cannot unmarshal number 3000000000 into Go struct field DaemonSetSpec.spec.minReadySeconds of type int32",
    );
    refused(
        r#"{"spec":{"selector":[]}}"#,
        "json: cannot unmarshal array into Go struct field DaemonSetSpec.spec.selector of type v1.LabelSelector",
    );
    refused(
        r#"{"spec":{"template":{"spec":{"containers":[{"imagePullPolicy":1}]}}}}"#,
        "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.imagePullPolicy of \
         type v1.PullPolicy",
    );
    refused(
        r#"{"spec":{"template":{"spec":{"containers":{}}}}}"#,
        "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
    );
    refused(
        r#"{"metadata":{"labels":{"a":1}}}"#,
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
    );
    // What a type's own reader says comes before everything else.
    refused(
        r#"{"spec":{"minReadySeconds":"5","updateStrategy":{"rollingUpdate":{"maxSurge":true}}}}"#,
        "json: cannot unmarshal bool into Go value of type int32",
    );
    refused(r#"{"metadata":{"creationTimestamp":5}}"#, "json: cannot unmarshal number into Go value of type string");
    refused(
        r#"{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"lots"}}}]}}}}"#,
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    );
}

#[test]
fn bodies_that_are_something_else() {
    let refused = |body: &str, why: &str| check("v1", "ConfigMap", body, why);
    refused(
        "",
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: \
         unexpected end of JSON input (<empty>)",
    );
    refused(
        "{\"metadata\": {\"name\": \"a rather long name\"",
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: \
         unexpected end of JSON input ({\"metadata\": {\"name\": \"a rathe ...)",
    );
    refused(
        r#"{"kind":5}"#,
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: \
         json: cannot unmarshal number into Go struct field .kind of type string ({\"kind\":5})",
    );
    refused(
        r#"{"apiVersion":"v1","kind":"Pod","spec":{}}"#,
        "Pod in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion",
    );
    refused(
        r#"{"apiVersion":"v1","kind":"Nonsense"}"#,
        "Nonsense in version \"v1\" cannot be handled as a ConfigMap: no kind \"Nonsense\" is registered for version \
         \"v1\" in scheme \"pkg/runtime/scheme.go:111\"",
    );
    check(
        "apps/v1",
        "DaemonSet",
        r#"{"apiVersion":"apps/v1beta2","kind":"DaemonSet"}"#,
        "the API version in the data (apps/v1beta2) does not match the expected API version (apps/v1)",
    );
}

#[test]
fn yaml_bodies() {
    let ty = type_of("v1", "ConfigMap");
    let body =
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  a: \"1\"\n  b: |\n    x\n    y\nfoo: 1\n";
    let decoded = yaml(schema::builtin(), &ty, body.as_bytes()).expect("an object");
    let expected = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "x\ny\n"},
    });
    assert_eq!(decoded, Decoded { object: expected, problems: vec!["unknown field \"foo\"".into()] });
    let status = yaml(schema::builtin(), &ty, b"data:\n  a: 1\n").expect_err("a refusal");
    assert_eq!(
        status.message(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct \
         field ConfigMap.data of type string"
    );
}

#[test]
fn the_schema_of_custom_resources() {
    check(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        r#"{"spec":{"group":"g","names":{"plural":"p","kind":"K"},"scope":"Cluster","versions":[{"name":"v1","served":true,
            "storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"default":{"x":null,"y":[]},
            "items":{"type":"string","nullable":false,"odd":1}},"b":{"additionalProperties":true,"enum":[null,1]},
            "c":{"minimum":1.0,"x-kubernetes-validations":[{"rule":"r"}]}}}}}]}}"#,
        r#"{"metadata":{},"spec":{"group":"g","names":{"kind":"K","plural":"p"},"scope":"Cluster","versions":[{"name":"v1","schema":{"openAPIV3Schema":{"properties":{"a":{"default":{"x":null,"y":[]},"items":{"type":"string"}},"b":{"additionalProperties":true,"enum":[null,1]},"c":{"minimum":1,"x-kubernetes-validations":[{"rule":"r"}]}},"type":"object"}},"served":true,"storage":true}]},"status":{"acceptedNames":{"kind":"","plural":""},"conditions":null,"storedVersions":null}}"#,
    );
}

#[test]
fn a_custom_resource_is_kept_as_sent() {
    let mut schema = schema::Schema::default();
    let id = schema.declare("example.com.v1.Thing");
    let inner = schema.declare("example.com.v1.Thing.spec");
    let field = |ty: Type| schema::Field {
        ty,
        required: false,
        written: false,
        pointer: false,
        tag: 0,
        patch: Default::default(),
        go_type: None,
    };
    let thing = schema.struct_mut(id);
    thing.loose = true;
    thing.gvk = Some(GroupVersionKind::new("example.com", "v1", "Thing"));
    thing.fields.insert("spec".into(), field(Type::Struct { id: inner }));
    let spec = schema.struct_mut(inner);
    spec.loose = true;
    spec.fields.insert("count".into(), field(Type::Scalar(schema::Scalar::Int32)));
    spec.fields.insert(
        "list".into(),
        field(Type::List { element: Box::new(Type::Struct { id: inner }), kind: schema::ListKind::Atomic }),
    );
    let body =
        br#"{"apiVersion":"example.com/v1","kind":"Thing","spec":{"count":"x","list":[{"count":null,"y":1}],"z":1}}"#;
    let decoded = decode_json(&schema, &Type::Struct { id }, body).expect("an object");
    let spec = json!({"count": "x", "list": [{"count": null}]});
    assert_eq!(decoded.object["spec"], spec);
    assert_eq!(decoded.problems, ["unknown field \"spec.list[0].y\"", "unknown field \"spec.z\""]);
}

#[test]
fn an_empty_list_of_managed_fields_stays() {
    let ty = type_of("v1", "Pod");
    let pod = |sent: Value| value(schema::builtin(), &ty, sent).expect("an object").object;
    assert_eq!(pod(json!({"metadata": {"managedFields": []}}))["metadata"], json!({"managedFields": []}));
    assert_eq!(pod(json!({"metadata": {"managedFields": null, "finalizers": []}}))["metadata"], json!({}));
}

#[test]
fn a_decoded_value_stays_as_it_is() {
    let ty = type_of("v1", "Pod");
    let body = json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "0.1"}}, "args": []}]}});
    let once = value(schema::builtin(), &ty, body).expect("an object");
    let twice = value(schema::builtin(), &ty, once.object.clone()).expect("an object");
    assert_eq!(once, twice);
    let wrong = value(schema::builtin(), &ty, json!({"spec": {"containers": 1}})).expect_err("a refusal");
    assert_eq!(
        wrong.message(),
        "json: cannot unmarshal number into Go struct field PodSpec.spec.containers of type []v1.Container"
    );
    let _: (Value, FieldValidation) = (once.object, FieldValidation::Warn);
}
