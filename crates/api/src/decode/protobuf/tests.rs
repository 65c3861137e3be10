use serde_json::{Value, json};

use crate::GroupVersionKind;
use crate::{decode, schema};

/// A chunk with bytes.
fn bytes(number: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = varint(u64::from(number) << 3 | 2);
    out.extend(varint(payload.len() as u64));
    out.extend(payload);
    out
}

fn text(number: u32, payload: &str) -> Vec<u8> {
    bytes(number, payload.as_bytes())
}

fn int(number: u32, value: i64) -> Vec<u8> {
    let mut out = varint(u64::from(number) << 3);
    out.extend(varint(value.cast_unsigned()));
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [text(1, api_version), text(2, kind)].concat();
    [b"k8s\0".to_vec(), bytes(1, &meta), bytes(2, raw), text(3, ""), text(4, "")].concat()
}

fn decode(api_version: &str, kind: &str, raw: &[u8]) -> Result<Value, String> {
    let gvk = GroupVersionKind::from_api_version(api_version, kind).expect("a version");
    let ty = schema::type_of(&gvk).expect("a known kind");
    let decoded = decode::protobuf(schema::builtin(), &ty, &body(api_version, kind, raw));
    decoded.map(|decoded| decoded.object).map_err(|status| status.message().to_string())
}

#[test]
fn a_config_map() {
    let meta = [text(1, "c"), text(2, ""), text(3, "default"), text(5, ""), int(7, 0), bytes(8, b"")].concat();
    let entry = [text(1, "k"), text(2, "v")].concat();
    let binary = [text(1, "b"), bytes(2, &[0xff, 0])].concat();
    let raw = [bytes(1, &meta), bytes(2, &entry), bytes(3, &binary)].concat();
    let expected = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"},
        "data": {"k": "v"}, "binaryData": {"b": "/wA="},
    });
    assert_eq!(decode("v1", "ConfigMap", &raw), Ok(expected));
}

#[test]
fn special_messages() {
    // A pod with a volume (inlined source), a port as text, a quantity, a pointer to zero, a time and negative number.
    let host_path = bytes(2, &bytes(1, &text(1, "/x")));
    let volume = [text(1, "v"), host_path].concat();
    let get = [text(1, "/"), bytes(2, &[int(1, 1), int(2, 0), text(3, "web")].concat())].concat();
    let probe = [bytes(1, &bytes(2, &get)), int(2, 0), int(3, 1)].concat();
    let limit = [text(1, "cpu"), bytes(2, &text(1, "0.5"))].concat();
    let container = [text(1, "m"), bytes(8, &bytes(1, &limit)), bytes(10, &probe)].concat();
    let spec = [bytes(1, &volume), bytes(2, &container), int(4, 0), int(25, -5)].concat();
    let meta = [text(1, "p"), bytes(9, &[int(1, 1_700_000_000), int(2, 5)].concat())].concat();
    let raw = [bytes(1, &meta), bytes(2, &spec)].concat();
    let expected = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "deletionTimestamp": "2023-11-14T22:13:20Z"},
        "spec": {
            "containers": [{
                "name": "m", "resources": {"limits": {"cpu": "500m"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": "web"}, "timeoutSeconds": 1},
            }],
            "priority": -5, "terminationGracePeriodSeconds": 0,
            "volumes": [{"name": "v", "hostPath": {"path": "/x"}}],
        },
        "status": {},
    });
    assert_eq!(decode("v1", "Pod", &raw), Ok(expected));
}

#[test]
fn raw_json_and_lists_in_maps() {
    let raw = [bytes(2, &bytes(1, br#"{"spec":{"b":1,"a":null}}"#)), int(3, 7)].concat();
    let object = decode("apps/v1", "ControllerRevision", &raw).expect("a revision");
    assert_eq!(object["data"], json!({"spec": {"b": 1, "a": null}}));
    assert_eq!(object["revision"], 7);
    let extra = [text(1, "k"), bytes(2, &[text(1, "a"), text(1, "b")].concat())].concat();
    let raw = bytes(2, &[text(3, "u"), bytes(5, &extra)].concat());
    let object = decode("authorization.k8s.io/v1", "SubjectAccessReview", &raw).expect("a review");
    assert_eq!(object["spec"]["extra"], json!({"k": ["a", "b"]}));
}

#[test]
fn what_is_broken_is_refused() {
    let refused = |raw: &[u8]| decode("v1", "ConfigMap", raw).expect_err("a refusal");
    assert_eq!(refused(b"\x0a\xff"), "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: unexpected EOF");
    assert!(refused(b"\x0b").ends_with("unexpected EOF"));
    assert!(refused(b"\x0b\x0c").ends_with("proto: wrong wireType = 3 for field 1"));
    assert!(refused(b"\x0c").ends_with("wiretype end group for non-group"));
    assert!(refused(b"\x0e").ends_with("illegal wireType 6"));
    assert!(refused(b"\x00").contains("illegal tag 0"));
    assert!(refused(&[0xff; 11]).ends_with("integer overflow"));
    assert!(refused(&int(1, 1)).ends_with("proto: wrong wireType = 0 for field 1"));
    let ty = schema::type_of(&GroupVersionKind::new("", "v1", "ConfigMap")).expect("a known kind");
    let whole = |body: &[u8]| {
        let status = decode::protobuf(schema::builtin(), &ty, body).expect_err("a refusal");
        let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): ";
        status.message().strip_prefix(unrecognized).unwrap_or(status.message()).to_string()
    };
    let no_magic = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] (78787878)";
    assert_eq!(whole(b"xxxx"), no_magic);
    assert_eq!(whole(b""), "empty data (<empty>)");
    assert_eq!(whole(b"k8s\0"), "empty body (6b387300)");
    assert_eq!(whole(b"k8s\0\x0a\xff"), "unexpected EOF (6b3873000aff)");
    assert_eq!(
        whole(&body("v1", "Secret", b"")),
        "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown \
         conversion"
    );
    assert_eq!(
        whole(&body("v1", "Nonsense", b"")),
        "Nonsense in version \"v1\" cannot be handled as a ConfigMap: no kind \"Nonsense\" is registered for version \
         \"v1\" in scheme \"pkg/runtime/scheme.go:111\""
    );
}

#[test]
fn unknown_fields_and_groups_are_skipped() {
    let group = b"\xab\x06\x08\x01\xab\x06\xac\x06\xac\x06";
    let raw = [text(99, "x"), int(100, 1), group.to_vec(), bytes(1, &[text(1, "c"), text(90, "y")].concat())].concat();
    let object = decode("v1", "ConfigMap", &raw).expect("a config map");
    assert_eq!(object["metadata"], json!({"name": "c"}));
}

#[test]
fn a_message_in_parts_is_put_together() {
    let label = |key: &str| bytes(11, &[text(1, key), text(2, "x")].concat());
    let parts = [[text(1, "c"), label("a")].concat(), [text(1, "d"), label("b")].concat()];
    let raw = [bytes(1, &parts[0]), bytes(1, &parts[1])].concat();
    let object = decode("v1", "ConfigMap", &raw).expect("a config map");
    assert_eq!(object["metadata"], json!({"name": "d", "labels": {"a": "x", "b": "x"}}));
}

#[test]
fn nesting_is_limited() {
    let mut props = text(5, "object");
    for _ in 0..20_000 {
        props = bytes(28, &props);
        if props.len() > 60_000 {
            break;
        }
    }
    let version = [text(1, "v1"), bytes(4, &bytes(1, &props))].concat();
    let raw = bytes(2, &bytes(7, &version));
    let refused = decode("apiextensions.k8s.io/v1", "CustomResourceDefinition", &raw).expect_err("too deep");
    assert!(refused.ends_with("proto: nesting is too deep"), "{refused}");
}

#[test]
fn what_could_not_be_read_again_is_refused() {
    // Messages nest less deep than the JSON that says the same: each property is two levels there.
    let mut props = text(5, "object");
    for _ in 0..80 {
        props = [text(5, "object"), bytes(29, &[text(1, "p"), bytes(2, &props)].concat())].concat();
    }
    let version = [text(1, "v1"), bytes(4, &bytes(1, &props))].concat();
    let raw = bytes(2, &bytes(7, &version));
    assert!(decode("apiextensions.k8s.io/v1", "CustomResourceDefinition", &raw).is_err());
    let json = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let raw = bytes(2, &bytes(1, json.as_bytes()));
    assert!(decode("apps/v1", "ControllerRevision", &raw).is_err());
}

/// The bytes of hexadecimal digits.
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<char> = digits.chars().filter(char::is_ascii_hexdigit).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("two digits");
    digits.chunks(2).map(byte).collect()
}

/// A body as kubectl 1.33 sent it, with all the empty values that Go writes.
#[track_caller]
fn check_recorded(api_version: &str, kind: &str, digits: &str, expected: Value) {
    let gvk = GroupVersionKind::from_api_version(api_version, kind).expect("a version");
    let ty = schema::type_of(&gvk).expect("a known kind");
    let decoded = decode::protobuf(schema::builtin(), &ty, &hex(digits)).expect("a body of Go");
    let mut object = decoded.object;
    let fields = object.as_object_mut().expect("an object");
    assert_eq!(fields.remove("apiVersion"), Some(api_version.into()));
    assert_eq!(fields.remove("kind"), Some(kind.into()));
    assert_eq!(object, expected);
}

#[test]
fn bodies_of_kubectl() {
    check_recorded(
        "apps/v1",
        "Deployment",
        "6b3873000a150a07617070732f7631120a4465706c6f796d656e7412b8010a1f0a0377656212001a0022002a003200380042005a0a0a03617070
        12037765621286010802120c0a0a0a0361707012037765621a6c0a1c0a0012001a0022002a003200380042005a0a0a036170701203776562124c
        122e0a056e67696e7812056e67696e782a00320a0a001000185022002a0042006a007200800100880100900100a201001a00320042004a005200
        5800600068008201008a01009a0100c2010022020a00280038001a0c0800100018002000280038001a002200",
        json!({
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "strategy": {},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [
                        {"name": "nginx", "image": "nginx", "ports": [{"containerPort": 80}], "resources": {}}]},
                },
            },
            "status": {},
        }),
    );
    check_recorded(
        "networking.k8s.io/v1",
        "Ingress",
        "6b3873000a1f0a146e6574776f726b696e672e6b38732e696f2f76311207496e677265737312580a110a016912001a0022002a0032003800
        4200123f120e0a09612e6578616d706c651201741a2d0a09612e6578616d706c6512200a1e0a1c0a022f70120e220c0a017312070a037765
        6210001a065072656669781a020a001a002200",
        json!({
            "metadata": {"name": "i"},
            "spec": {"tls": [{"hosts": ["a.example"], "secretName": "t"}], "rules": [{"host": "a.example", "http": {"paths":
                [{"path": "/p", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"name": "web"}}}}]}}]},
            "status": {"loadBalancer": {}},
        }),
    );
    check_recorded(
        "policy/v1",
        "PodDisruptionBudget",
        "6b3873000a200a09706f6c6963792f76311213506f6444697372757074696f6e42756467657412360a110a017012001a0022002a00320038
        00420012150a09080110001a0335302512080a060a01611201621a0a080018002000280030001a002200",
        json!({
            "metadata": {"name": "p"}, "spec": {"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}},
            "status": {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
        }),
    );
    check_recorded(
        "v1",
        "ResourceQuota",
        "6b3873000a130a027631120d5265736f7572636551756f746112340a110a017112001a0022002a00320038004200121d0a0a0a0363707512
        030a01310a0f0a066d656d6f727912050a033147691a001a002200",
        json!({"metadata": {"name": "q"}, "spec": {"hard": {"cpu": "1", "memory": "1Gi"}}, "status": {}}),
    );
    check_recorded(
        "authentication.k8s.io/v1",
        "TokenRequest",
        "6b3873000a280a1861757468656e7469636174696f6e2e6b38732e696f2f7631120c546f6b656e52657175657374122d0a100a0012001a00
        22002a0032003800420012131a0e0a03506f64120276311a0178220020b0091a040a0012001a002200",
        json!({
            "metadata": {},
            "spec": {"audiences": null, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "x"},
                "expirationSeconds": 1200},
            "status": {"expirationTimestamp": null, "token": ""},
        }),
    );
}
