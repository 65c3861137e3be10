//! Reads `facts/types.tsv`, whose own head says what its columns are, and `facts/wire.tsv`, which has the same.

use crate::GroupVersionKind;

use super::{Field, ListKind, PatchStrategy, Scalar, Schema, StructId, Type};

const TYPES: &str = include_str!("../facts/types.tsv");
const WIRE: &str = include_str!("../facts/wire.tsv");

/// `rbac` for `rbac.authorization.k8s.io`, `core` for the core group.
pub fn short_group(group: &str) -> &str {
    if group.is_empty() { "core" } else { group.split('.').next().unwrap_or(group) }
}

/// The facts are ours and generated: a row that cannot be read is a bug, and a test reads them all.
pub fn read() -> Schema {
    let mut schema = Schema::default();
    let mut current = None;
    for line in TYPES.lines().chain(WIRE.lines()) {
        match line.split_at(1) {
            ("#", _) => {}
            ("=", head) => current = Some(declare(&mut schema, head)),
            ("@", inlined) => {
                let (tag, name) = inlined.split_once('\t').expect("an inlined message has tag and type");
                let id = schema.declare(name);
                let inlined = (tag.parse().expect("a tag is a number"), id);
                schema.struct_mut(current.expect("a type comes first")).inlined.push(inlined);
            }
            ("!", default) => {
                let (name, json) = default.split_once('\t').expect("a default has field and value");
                let value = serde_json::from_str(json).expect("a default is JSON");
                schema.struct_mut(current.expect("a type comes first")).defaults.insert(name.to_string(), value);
            }
            _ => {
                let (name, field) = field(&mut schema, line);
                schema.struct_mut(current.expect("a type comes first")).fields.insert(name.to_string(), field);
            }
        }
    }
    schema.sort_parts();
    schema
}

fn declare(schema: &mut Schema, head: &str) -> StructId {
    let mut words = head.split(' ');
    let name = words.next().unwrap_or_default();
    let id = schema.declare(name);
    for flag in words {
        match flag.split_once('=') {
            Some(("kind", group)) => schema.struct_mut(id).gvk = Some(gvk(group, name)),
            None if flag == "atomic" => schema.struct_mut(id).atomic = true,
            _ => unreachable!("flag {flag:?} of {head:?}"),
        }
    }
    id
}

fn gvk(group: &str, name: &str) -> GroupVersionKind {
    let mut segments = name.rsplit('.');
    let kind = segments.next().unwrap_or_default();
    GroupVersionKind::new(group, segments.next().unwrap_or_default(), kind)
}

fn field<'a>(schema: &mut Schema, line: &'static str) -> (&'a str, Field)
where
    'static: 'a,
{
    let mut columns = line.split('\t');
    let mut next = || columns.next().unwrap_or_default();
    let (name, tag, flags, ty, patch, go) = (next(), next(), next(), next(), next(), next());
    let field = Field {
        ty: parse_type(schema, ty),
        required: flags.contains('r'),
        written: flags.contains('w'),
        pointer: flags.contains('p'),
        tag: tag.parse().expect("a tag is a number"),
        patch: patch_strategy(patch),
        go_type: Some(go).filter(|go| !go.is_empty()),
    };
    (name, field)
}

fn parse_type(schema: &mut Schema, text: &str) -> Type {
    let inner = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('>'));
    if let Some(element) = inner("list<") {
        return list(parse_type(schema, element), ListKind::Atomic);
    }
    if let Some(element) = inner("set<") {
        return list(parse_type(schema, element), ListKind::Set);
    }
    if let Some((keys, element)) = inner("keyed<").and_then(|inner| inner.split_once(';')) {
        let keys = keys.split(',').map(str::to_string).collect();
        return list(parse_type(schema, element), ListKind::Map { keys });
    }
    if let Some(value) = inner("map<") {
        return Type::Map { value: Box::new(parse_type(schema, value)), atomic: false };
    }
    if let Some(value) = inner("atomicmap<") {
        return Type::Map { value: Box::new(parse_type(schema, value)), atomic: true };
    }
    match scalar(text) {
        Some(scalar) => Type::Scalar(scalar),
        None if text == "any" => Type::Any,
        None => Type::Struct { id: schema.declare(text) },
    }
}

fn list(element: Type, kind: ListKind) -> Type {
    Type::List { element: Box::new(element), kind }
}

fn scalar(text: &str) -> Option<Scalar> {
    Some(match text {
        "string" => Scalar::String,
        "bool" => Scalar::Bool,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "double" => Scalar::Double,
        "bytes" => Scalar::Bytes,
        "Time" => Scalar::Time,
        "MicroTime" => Scalar::MicroTime,
        "Duration" => Scalar::Duration,
        "Quantity" => Scalar::Quantity,
        "IntOrString" => Scalar::IntOrString,
        _ => return None,
    })
}

fn patch_strategy(text: &str) -> PatchStrategy {
    let (strategies, merge_key) = match text.split_once('=') {
        Some((strategies, key)) => (strategies, Some(key.to_string())),
        None => (text, None),
    };
    let has = |strategy: &str| strategies.split(',').any(|word| word == strategy);
    PatchStrategy { merge: has("merge"), retain_keys: has("retainKeys"), replace: has("replace"), merge_key }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{builtin, type_of};

    fn check(path: &str, expected: &str) {
        let schema = builtin();
        let (name, field) = path.split_once(' ').expect("a type and a field");
        let id = schema.find(name).unwrap_or_else(|| panic!("no type {name}"));
        let field = &schema.get(id).fields[field];
        let ty = match &field.ty {
            Type::Struct { id } => schema.get(*id).name.clone(),
            Type::List { kind, .. } => format!("{kind:?}"),
            other => format!("{other:?}"),
        };
        let flags = [(field.required, "r"), (field.written, "w"), (field.pointer, "p")];
        let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
        let patch = &field.patch;
        let actual = format!("{} [{flags}] {ty} {:?} {}", field.tag, patch.merge_key, patch.merge);
        assert_eq!(actual, expected, "{path}");
    }

    #[test]
    fn facts_of_well_known_fields() {
        check("apps.v1.DaemonSetSpec selector", "1 [rwp] meta.v1.LabelSelector None false");
        check("apps.v1.DaemonSetSpec updateStrategy", "3 [w] apps.v1.DaemonSetUpdateStrategy None false");
        check("core.v1.PodSpec containers", r#"2 [rw] Map { keys: ["name"] } Some("name") true"#);
        check(
            "core.v1.Container ports",
            r#"6 [] Map { keys: ["containerPort", "protocol"] } Some("containerPort") true"#,
        );
        check("core.v1.PodSpec nodeSelector", "7 [] Map { value: Scalar(String), atomic: true } None false");
        check("core.v1.Volume hostPath", "0 [p] core.v1.HostPathVolumeSource None false");
        check("core.v1.VolumeSource hostPath", "1 [p] core.v1.HostPathVolumeSource None false");
        check("core.v1.FCVolumeSource lun", "2 [p] Scalar(Int32) None false");
        check("core.v1.EphemeralContainer env", r#"0 [] Map { keys: ["name"] } Some("name") true"#);
        check("meta.v1.ObjectMeta creationTimestamp", "8 [] Scalar(Time) None false");
        check("meta.v1.ObjectMeta finalizers", "14 [] Set None true");
        check("core.v1.LocalObjectReference name", "1 [] Scalar(String) None false");
        check("apps.v1.ControllerRevision data", "2 [w] Any None false");
    }

    #[test]
    fn list_keys_have_their_defaults() {
        let id = builtin().find("core.v1.ContainerPort").expect("a type");
        assert_eq!(builtin().get(id).defaults["protocol"], "TCP");
    }

    #[test]
    fn every_type_that_is_referred_to_exists() {
        for structure in &builtin().structs {
            assert!(!structure.fields.is_empty() || EMPTY.contains(&structure.name.as_str()), "{}", structure.name);
        }
    }

    const EMPTY: &[&str] = &["apiextensions.v1.CustomResourceSubresourceStatus", "storage.v1.VolumeNodeResources"];

    #[test]
    fn kinds_are_found_by_group_version_and_kind() {
        for (group, version, kind, found) in [
            ("apps", "v1", "DaemonSet", true),
            ("", "v1", "Pod", true),
            ("rbac.authorization.k8s.io", "v1", "ClusterRole", true),
            ("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", true),
            ("policy", "v1", "Eviction", true),
            ("authentication.k8s.io", "v1", "TokenRequest", true),
            ("autoscaling", "v1", "Scale", true),
            ("meta.k8s.io", "v1", "DeleteOptions", true),
            ("", "v1", "Binding", true),
            ("apps", "v1", "DaemonSetSpec", false),
            ("", "v1", "ObjectReference", false),
            ("rbac", "v1", "ClusterRole", false),
            ("core", "v1", "Pod", false),
            ("example.com", "v1", "Pod", false),
        ] {
            let gvk = GroupVersionKind::new(group, version, kind);
            assert_eq!(type_of(&gvk).is_some(), found, "{gvk:?}");
        }
    }
}
