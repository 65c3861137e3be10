//! Tables: what the server made of the objects, laid out in columns.

use backstay_api::meta;
use serde_json::{Value, json};

/// How to show a table.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub wide: bool,
    pub no_headers: bool,
    /// In front: the namespace of each object.
    pub with_namespace: bool,
    /// In front of each name, as in `daemonset.apps/`.
    pub kind: Option<String>,
    /// At the end: all labels.
    pub show_labels: bool,
    /// At the end: a column for each of these labels.
    pub label_columns: Vec<String>,
}

/// Tab-separated lines of a `Table`: a header (unless switched off or nothing is there), then a line per row.
pub fn lines(table: &Value, look: &Look) -> (Option<String>, Vec<String>) {
    let columns = meta::list_at(table, &["columnDefinitions"]);
    let shown: Vec<usize> = (0..columns.len())
        .filter(|index| look.wide || meta::int_at(&columns[*index], &["priority"]).unwrap_or(0) == 0)
        .collect();
    let header = shown.iter().map(|index| meta::str_at(&columns[*index], &["name"]).to_uppercase());
    let header = decorated(
        header.collect(),
        "NAMESPACE",
        look,
        |label| label.rsplit('/').next().unwrap_or(label).to_uppercase(),
        "LABELS",
    );
    let name_column = columns.iter().position(|column| meta::str_at(column, &["format"]) == "name");
    let rows = meta::list_at(table, &["rows"]).iter().map(|row| {
        let cells = meta::list_at(row, &["cells"]);
        let cell = |index: &usize| {
            let text = cells.get(*index).map(cell_text).unwrap_or_default();
            match &look.kind {
                Some(kind) if Some(*index) == name_column.or(Some(0)) => format!("{kind}/{text}"),
                _ => text,
            }
        };
        let object = row.get("object").unwrap_or(&Value::Null);
        let labels = meta::labels(object);
        let all: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let all = if all.is_empty() { "<none>".to_string() } else { all.join(",") };
        let namespace = meta::namespace(object).unwrap_or("");
        decorated(
            shown.iter().map(cell).collect(),
            namespace,
            look,
            |label| labels.get(label).cloned().unwrap_or_default(),
            &all,
        )
    });
    (Some(header).filter(|_| !look.no_headers), rows.collect())
}

fn decorated(
    mut cells: Vec<String>,
    namespace: &str,
    look: &Look,
    label: impl Fn(&str) -> String,
    labels: &str,
) -> String {
    if look.with_namespace {
        cells.insert(0, namespace.to_string());
    }
    cells.extend(look.label_columns.iter().map(|name| label(name)));
    if look.show_labels {
        cells.push(labels.to_string());
    }
    cells.join("\t")
}

/// A cell on one line: what follows a line break is cut.
fn cell_text(cell: &Value) -> String {
    match cell {
        Value::Null => String::new(),
        Value::String(text) => match text.find(['\n', '\r', '\u{c}']) {
            Some(end) => format!("{}...", &text[..end]),
            None => text.clone(),
        },
        other => backstay_rollout::go::plain(other),
    }
}

/// A table of names and ages, for answers that are plain objects.
pub fn of_objects(objects: &[Value], age: impl Fn(&Value) -> String) -> Value {
    let rows: Vec<Value> =
        objects.iter().map(|object| json!({"cells": [meta::name(object), age(object)], "object": object})).collect();
    json!({
        "kind": "Table",
        "columnDefinitions": [{"name": "Name", "format": "name"}, {"name": "Age"}],
        "rows": rows,
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(look: &Look, expected: Expect) {
        let table = json!({
            "columnDefinitions": [
                {"name": "Name", "format": "name", "priority": 0},
                {"name": "Node Selector", "priority": 0},
                {"name": "Images", "priority": 1},
            ],
            "rows": [
                {"cells": ["a", "<none>", "x:1"], "object": {"metadata": {"namespace": "n", "labels": {"a.io/b": "c"}}}},
                {"cells": ["long-name", "one\ntwo", null], "object": {"metadata": {"namespace": "n"}}},
            ],
        });
        let (header, rows) = lines(&table, look);
        let all: Vec<String> = header.into_iter().chain(rows).collect();
        expected.assert_eq(&crate::output::grid::layout(&all));
    }

    #[test]
    fn columns_follow_the_flags() {
        check(
            &Look::default(),
            expect![[r#"
            NAME        NODE SELECTOR
            a           <none>
            long-name   one...
        "#]],
        );
        check(
            &Look { wide: true, kind: Some("ds".into()), no_headers: true, ..Look::default() },
            expect![[r#"
            ds/a           <none>   x:1
            ds/long-name   one...   
        "#]],
        );
        let labels = vec!["a.io/b".to_string()];
        check(
            &Look { with_namespace: true, show_labels: true, label_columns: labels, ..Look::default() },
            expect![[r#"
            NAMESPACE   NAME        NODE SELECTOR   B     LABELS
            n           a           <none>          c     a.io/b=c
            n           long-name   one...                <none>
        "#]],
        );
    }
}
