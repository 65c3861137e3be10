//! Nothing that comes in over the wire makes a decoder panic, and what was decoded once stays as it is.

use backstay_api::schema::{Scalar, Schema, Type};
use backstay_api::{GroupVersionKind, decode, protobuf, schema};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const KINDS: [(&str, &str, &str); 6] = [
    ("", "v1", "Pod"),
    ("apps", "v1", "DaemonSet"),
    ("", "v1", "Service"),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
    ("authorization.k8s.io", "v1", "SubjectAccessReview"),
    ("", "v1", "Event"),
];

fn type_of(index: usize) -> Type {
    let (group, version, kind) = KINDS[index % KINDS.len()];
    schema::type_of(&GroupVersionKind::new(group, version, kind)).expect("a built-in kind")
}

/// A stream of choices, so that a value of any type can be built from random numbers.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }
}

/// A value of the type, mostly right: with empty, null and absent parts.
fn sample(schema: &Schema, ty: &Type, choices: &mut Choices<'_>, depth: usize) -> Value {
    if depth == 0 || choices.next().is_multiple_of(10) {
        return Value::Null;
    }
    match ty {
        Type::Struct { id } => {
            let mut fields = Map::new();
            let structure = schema.get(*id);
            for (name, field) in &structure.fields {
                // A handful of fields came after the source of the tags. An empty `managedFields` is a wish to forget
                // them, which only JSON can tell.
                let in_protobuf = field.tag != 0 || !structure.inlined.is_empty();
                if in_protobuf && name != "managedFields" && choices.next().is_multiple_of(3) {
                    fields.insert(name.clone(), sample(schema, &field.ty, choices, depth - 1));
                }
            }
            Value::Object(fields)
        }
        Type::List { element, .. } => {
            (0..choices.next() % 3).map(|_| sample(schema, element, choices, depth - 1)).collect()
        }
        Type::Map { value, .. } => {
            (0..choices.next() % 3).map(|key| (format!("k{key}"), sample(schema, value, choices, depth - 1))).collect()
        }
        Type::Any => json!({"type": "string"}),
        Type::Scalar(scalar) => sample_scalar(*scalar, choices.next()),
    }
}

fn sample_scalar(scalar: Scalar, choice: u8) -> Value {
    let pick = |values: Value| values[usize::from(choice) % values.as_array().map_or(1, Vec::len)].clone();
    match scalar {
        Scalar::String | Scalar::Duration => pick(json!(["", "x", "\u{2028}<&>\n"])),
        Scalar::Bool => pick(json!([true, false])),
        Scalar::Int32 => pick(json!([0, -1, i32::MAX])),
        Scalar::Int64 => pick(json!([0, i64::MIN, i64::MAX])),
        Scalar::Double => pick(json!([0.0, 1.5, -3])),
        Scalar::Bytes => pick(json!(["", "aGk=", "aG\nk="])),
        Scalar::Time => pick(json!(["0001-01-01T00:00:00Z", "2026-11-23T17:08:18.25+01:00"])),
        Scalar::MicroTime => pick(json!(["2026-11-23T17:08:18.250000Z"])),
        Scalar::Quantity => pick(json!(["0.5", 1, "1024Mi", "1e3"])),
        Scalar::IntOrString => pick(json!([0, 5, "50%", ""])),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn bytes_never_panic(kind in 0..KINDS.len(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let ty = type_of(kind);
        let _ = decode::json(schema::builtin(), &ty, &body);
        let _ = decode::yaml(schema::builtin(), &ty, &body);
        let _ = decode::protobuf(schema::builtin(), &ty, &[b"k8s\0\x12\x7f".as_slice(), &body].concat());
        let _ = decode::protobuf(schema::builtin(), &ty, &[b"k8s\0".as_slice(), &body].concat());
    }

    #[test]
    fn text_never_panics(kind in 0..KINDS.len(), body in r#"[-{}\[\]",:a-e0-9.\\ \n&*!|>#'~]{0,60}"#) {
        let ty = type_of(kind);
        let _ = decode::json(schema::builtin(), &ty, body.as_bytes());
        let _ = decode::yaml(schema::builtin(), &ty, body.as_bytes());
    }

    #[test]
    fn json_is_read_as_others_read_it(body in r#"[-{}\[\]",:a-e0-9.\\ tru]{0,30}"#) {
        let theirs: Result<Value, _> = serde_json::from_str(&body);
        let ours = decode::json_value(body.as_bytes());
        // Others do not take lone surrogates and huge numbers; nothing that they take may be refused.
        if theirs.is_ok() {
            prop_assert!(ours.is_ok(), "{:?}", ours);
        }
    }

    #[test]
    fn decoding_is_stable(kind in 0..KINDS.len(), choices in prop::collection::vec(any::<u8>(), 0..600)) {
        let (schema, ty) = (schema::builtin(), type_of(kind));
        let value = sample(schema, &ty, &mut Choices(choices.iter()), 9);
        let once = decode::value(schema, &ty, value).expect("the sample has the right types");
        prop_assert_eq!(&once.problems, &Vec::<String>::new());
        let twice = decode::json(schema, &ty, once.object.to_string().as_bytes()).expect("our own output");
        prop_assert_eq!(&once.object, &twice.object);
    }

    #[test]
    fn what_did_not_change_need_not_be_looked_at(
        kind in 0..KINDS.len(),
        before in prop::collection::vec(any::<u8>(), 0..300),
        after in prop::collection::vec(any::<u8>(), 0..300),
        takes in any::<u8>(),
    ) {
        let (schema, ty) = (schema::builtin(), type_of(kind));
        let made = |choices: &Vec<u8>| sample(schema, &ty, &mut Choices(choices.iter()), 9);
        let before = decode::value(schema, &ty, made(&before)).expect("the sample has the right types").object;
        let mut object = before.clone();
        for (at, (name, value)) in made(&after).as_object().into_iter().flatten().enumerate() {
            if takes >> (at % 8) & 1 == 1 {
                object[name] = value.clone();
            }
        }
        let whole = decode::value(schema, &ty, object.clone()).expect("the samples have the right types");
        prop_assert_eq!(decode::changed(schema, &ty, &before, object).expect("as before"), whole);
    }

    #[test]
    fn protobuf_says_the_same_as_json(choices in prop::collection::vec(any::<u8>(), 0..400)) {
        let schema = schema::builtin();
        for name in schema.kinds() {
            let ty = Type::Struct { id: schema.find(name).expect("a kind") };
            let value = sample(schema, &ty, &mut Choices(choices.iter()), 9);
            let object = decode::value(schema, &ty, value).expect("the sample has the right types").object;
            let (api_version, kind) = (object["apiVersion"].as_str(), object["kind"].as_str());
            let message = protobuf::message(schema, &ty, &object).expect("built-in kinds have a protobuf form");
            let body = protobuf::body(api_version.unwrap_or_default(), kind.unwrap_or_default(), &message);
            let back = decode::protobuf(schema, &ty, &body).expect("our own output");
            prop_assert_eq!(&object, &back.object, "{}", name);
            let object_meta = schema.find("meta.v1.ObjectMeta").map(|id| Type::Struct { id });
            let is_object = schema.field(&ty, "metadata").is_some_and(|field| Some(&field.ty) == object_meta.as_ref());
            if is_object && object["metadata"].is_object() {
                let length = protobuf::metadata_length(&message).expect("metadata comes first");
                prop_assert_eq!(&protobuf::metadata(&object), &message[..length], "{}", name);
            }
        }
    }

    #[test]
    fn broken_messages_are_refused_or_read(
        kind in 0..KINDS.len(),
        choices in prop::collection::vec(any::<u8>(), 0..400),
        (at, byte) in (any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let (schema, ty) = (schema::builtin(), type_of(kind));
        let value = sample(schema, &ty, &mut Choices(choices.iter()), 9);
        let object = decode::value(schema, &ty, value).expect("the sample has the right types").object;
        let (_, _, name) = KINDS[kind];
        let mut body = protobuf::body(object["apiVersion"].as_str().unwrap_or_default(), name,
            &protobuf::message(schema, &ty, &object).expect("built-in kinds have a protobuf form"));
        let at = at.index(body.len());
        let _ = decode::protobuf(schema, &ty, &body[..at]);
        body[at] = byte;
        let _ = decode::protobuf(schema, &ty, &body);
    }
}
