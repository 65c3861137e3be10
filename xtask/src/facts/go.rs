//! Reads the tables that say how Go holds each field.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// By type and field.
pub type GoFields = BTreeMap<(String, String), GoField>;

#[derive(Clone, Debug, Default)]
pub struct GoField {
    /// Written even if empty: no `omitempty`, or a struct held by value.
    pub written: bool,
    pub pointer: bool,
    /// Without a leading `*`. Empty: unknown.
    pub ty: String,
    /// What the protobuf source does not know yet.
    pub tag: Option<u32>,
    /// `atomic`, `set` or `map:key,key`.
    pub list: Option<String>,
    /// `merge`, `merge:key`, `retainKeys`...
    pub patch: Option<String>,
}

/// Later tables win. Columns: type, field, options (o omitempty, z omitzero, -), Go type (`.` unknown), and then, where
/// the protobuf source does not have it: tag, list type, patch strategy (`.` none).
pub fn read(tables: &[PathBuf]) -> Result<GoFields> {
    let mut fields = GoFields::new();
    for table in tables {
        let text = std::fs::read_to_string(table).with_context(|| format!("read {}", table.display()))?;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let columns: Vec<&str> = line.split('\t').collect();
            ensure!(columns.len() >= 4, "{}: {line:?} has fewer than four columns", table.display());
            fields.insert((columns[0].into(), columns[1].into()), field(&columns));
        }
    }
    Ok(fields)
}

fn field(columns: &[&str]) -> GoField {
    let ty = if columns[3] == "." { "" } else { columns[3] };
    let pointer = ty.starts_with('*');
    let by_value = is_struct(ty) && !columns[2].contains('z');
    let extra =
        |index: usize| columns.get(index).filter(|text| **text != "." && !text.is_empty()).map(|text| text.to_string());
    GoField {
        written: columns[2] == "-" || by_value,
        pointer,
        ty: ty.trim_start_matches('*').to_string(),
        tag: extra(4).and_then(|tag| tag.parse().ok()),
        list: extra(5),
        patch: extra(6),
    }
}

/// Whether a Go type text names a struct held by value. Named strings and lists look the same in text, so `go.tsv`
/// writes those as `name=kind`, for example `v1.PullPolicy=string`.
fn is_struct(ty: &str) -> bool {
    !ty.starts_with(['*', '[']) && !ty.starts_with("map[") && ty.contains('.') && !ty.contains('=')
}
