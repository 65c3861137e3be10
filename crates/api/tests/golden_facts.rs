//! The facts about lists and maps, compared with those published with the API description.

mod recordings;

use std::collections::BTreeMap;

use backstay_api::schema::{self, ListKind, Type};

/// What the published table says of one field, in its own words.
fn ours(structure: &schema::Struct, field: &str) -> String {
    if field == "(self)" {
        return if structure.atomic { "atomic|||" } else { "granular|||" }.to_string();
    }
    let Some(field) = structure.fields.get(field) else { return "no such field".to_string() };
    let (kind, keys) = match &field.ty {
        Type::List { kind: ListKind::Atomic, .. } => ("atomic", String::new()),
        Type::List { kind: ListKind::Set, .. } => ("set", String::new()),
        Type::List { kind: ListKind::Map { keys }, .. } => ("map", keys.join(",")),
        Type::Map { atomic: true, .. } => ("atomic", String::new()),
        _ => ("granular", String::new()),
    };
    let mut strategies = Vec::new();
    strategies.extend(field.patch.merge.then_some("merge"));
    strategies.extend(field.patch.retain_keys.then_some("retainKeys"));
    strategies.extend(field.patch.replace.then_some("replace"));
    format!("{kind}|{keys}|{}|{}", strategies.join(","), field.patch.merge_key.as_deref().unwrap_or_default())
}

#[test]
fn lists_and_maps_merge_as_published() {
    if !recordings::present() {
        return;
    }
    let path = recordings::root().join("../list-metadata.tsv");
    let table = std::fs::read_to_string(path).expect("the published facts");
    let schema = schema::builtin();
    let mut different = BTreeMap::new();
    let mut checked = 0;
    for line in table.lines().filter(|line| !line.starts_with('#') && !line.starts_with("type\t")) {
        let columns: Vec<&str> = line.split('\t').chain(std::iter::repeat("")).take(7).collect();
        let (name, field, ty) = (columns[0], columns[1], columns[2]);
        // Our facts have no list types: they are all alike.
        if field == "items" && name.ends_with("List") {
            continue;
        }
        let kind = match columns[3] {
            "" if ty == "array" => "atomic",
            "" => "granular",
            kind => kind,
        };
        // Unions stand in the last column; nothing here reads them.
        let merge_key = if columns[6].starts_with('{') { "" } else { columns[6] };
        let published = format!("{kind}|{}|{}|{merge_key}", columns[4], columns[5]);
        let structure = schema.find(name).map(|id| schema.get(id));
        let known = structure.map_or("no such type".to_string(), |structure| ours(structure, field));
        if known != published {
            different.insert(format!("{name}.{field}"), format!("{known} instead of {published}"));
        }
        checked += 1;
    }
    assert!(checked > 250, "only {checked} facts in the table");
    assert_eq!(different, BTreeMap::new());
}
