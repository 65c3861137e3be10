//! Writes `facts/go.tsv` from the type information of a Go program that carries the API types.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::TypeName;
use super::go_binary::{GoStructField, Kind};

const HEADER: &str = "\
# How Go holds each field, read from the type information that a Go program carries: `cargo xtask facts PROGRAM`, with
# kubectl 1.33. Columns: type, field, tag options (o omitempty, z omitzero, - none: always written), Go type (a named
# type that is no struct as name=kind). Types and fields that this program does not carry are in later.tsv.
";

/// Groups that became stable after the program was built: their types are taken from the version before.
const EARLIER: [(&str, &str); 3] = [
    ("resource.v1.", "resource.v1beta2."),
    ("storage.v1.", "storage.v1beta1."),
    ("admissionregistration.v1.", "admissionregistration.v1alpha1."),
];

type Structs = BTreeMap<TypeName, Vec<GoStructField>>;

/// The table for these types.
pub fn table(structs: BTreeMap<(String, String), Vec<GoStructField>>, wanted: &BTreeSet<TypeName>) -> String {
    let structs: Structs =
        structs.into_iter().filter_map(|((package, name), fields)| Some((short(&package, &name)?, fields))).collect();
    let mut text = HEADER.to_string();
    for name in wanted {
        let (source, earlier) = source(name, &structs);
        for (field, (options, ty)) in flat(&source, &structs) {
            let ty = if earlier {
                ty.replace("v1beta2", "v1").replace("v1beta1", "v1").replace("v1alpha1", "v1")
            } else {
                ty
            };
            let _ = writeln!(text, "{name}\t{field}\t{options}\t{ty}");
        }
    }
    text
}

/// `apps.v1.DaemonSet` for `v1.DaemonSet` of `k8s.io/api/apps/v1`.
fn short(package: &str, name: &str) -> Option<TypeName> {
    let known = package.starts_with("k8s.io/api/") || package == "k8s.io/apimachinery/pkg/apis/meta/v1";
    let (rest, version) = package.rsplit_once('/').filter(|_| known)?;
    let (_, group) = rest.rsplit_once('/')?;
    let (_, name) = name.rsplit_once('.')?;
    Some(format!("{group}.{version}.{name}"))
}

fn source(name: &str, structs: &Structs) -> (TypeName, bool) {
    if structs.contains_key(name) {
        return (name.to_string(), false);
    }
    let earlier = EARLIER.iter().find_map(|(stable, earlier)| Some(format!("{earlier}{}", name.strip_prefix(stable)?)));
    earlier.map_or_else(|| (name.to_string(), false), |earlier| (earlier, true))
}

/// Options and types by JSON name; fields of inlined structs are taken in.
fn flat(name: &str, structs: &Structs) -> BTreeMap<String, (String, String)> {
    let mut out = BTreeMap::new();
    for field in structs.get(name).into_iter().flatten() {
        let Some(tag) = field.tag.split("json:\"").nth(1).and_then(|rest| rest.split('"').next()) else { continue };
        let (json, options) = tag.split_once(',').unwrap_or((tag, ""));
        match json {
            "-" => {}
            "" if field.kind == Kind::Struct && field.ty != "v1.TypeMeta" => {
                let group = name.rsplit_once('.').map_or("", |(group, _)| group);
                let inner = field.ty.rsplit('.').next().unwrap_or_default();
                for (json, shape) in flat(&format!("{group}.{inner}"), structs) {
                    out.entry(json).or_insert(shape);
                }
            }
            "" => {}
            json => {
                out.insert(json.to_string(), (option_letters(options), type_text(field)));
            }
        }
    }
    out
}

fn option_letters(options: &str) -> String {
    let has = |option: &str| options.split(',').any(|other| other == option);
    let letters: String = [("omitempty", 'o'), ("omitzero", 'z')]
        .iter()
        .filter(|(option, _)| has(option))
        .map(|(_, letter)| *letter)
        .collect();
    if letters.is_empty() { "-".to_string() } else { letters }
}

fn type_text(field: &GoStructField) -> String {
    let ty = &field.ty;
    match field.kind {
        Kind::Basic(basic) if ty.contains('.') => format!("{ty}={basic}"),
        Kind::Slice if !ty.starts_with('[') => format!("{ty}=slice"),
        Kind::Map if !ty.starts_with("map[") => format!("{ty}=map"),
        _ => ty.clone(),
    }
}
