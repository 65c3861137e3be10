//! Objects in tables, one per type.

use backstay_api::meta;
use backstay_api::resources::Resource;
use serde_json::Value;

use super::{Args, sort};
use crate::age;
use crate::discovery;
use crate::error::{Failure, Outcome};
use crate::output::grid;
use crate::output::table::{self, Look};
use crate::server::{Call, TABLE};
use crate::session::Session;
use crate::target::{self, Pick};

pub async fn print(session: &Session, args: &Args, wide: bool, picks: Vec<Pick>) -> Outcome {
    let mut failures = Vec::new();
    let mut groups: Vec<Group> = Vec::new();
    let several = several_types(&picks);
    for pick in &picks {
        let resource = resource_of(pick);
        let tables = match table_of(session, args, pick).await {
            Ok(table) => table,
            Err(failure) if failure.is_not_found() && args.ignore_not_found => continue,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let look = look(args, resource, wide, several);
        let (header, rows) = table::lines(&tables, &look);
        match groups.last_mut().filter(|group| group.resource == *resource) {
            Some(group) => group.rows.extend(rows),
            None => groups.push(Group { resource: resource.clone(), header, rows }),
        }
    }
    groups.retain(|group| !group.rows.is_empty());
    if groups.is_empty() && failures.is_empty() && !args.ignore_not_found {
        session.io.err_line(&nothing(session, args, &picks));
    }
    for (index, group) in groups.iter().enumerate() {
        if index > 0 && group.header.is_some() {
            session.io.out("\n")?;
        }
        let rows: Vec<String> = group.header.iter().chain(&group.rows).cloned().collect();
        session.io.out(&grid::layout(&rows))?;
    }
    Failure::from_list(failures)
}

struct Group {
    resource: Resource,
    header: Option<String>,
    rows: Vec<String>,
}

pub fn resource_of(pick: &Pick) -> &Resource {
    match pick {
        Pick::Named { resource, .. } | Pick::Listed { resource, .. } | Pick::InFile { resource, .. } => resource,
    }
}

pub fn several_types(picks: &[Pick]) -> bool {
    picks.windows(2).any(|pair| resource_of(&pair[0]) != resource_of(&pair[1]))
}

pub fn look(args: &Args, resource: &Resource, wide: bool, several: bool) -> Look {
    Look {
        wide,
        no_headers: args.no_headers,
        with_namespace: args.all_namespaces && resource.namespaced,
        kind: (several || args.show_kind).then(|| discovery::kind_name(resource)),
        show_labels: args.show_labels,
        label_columns: args.label_columns.clone(),
    }
}

fn nothing(session: &Session, args: &Args, picks: &[Pick]) -> String {
    if !args.all_namespaces && picks.iter().all(|pick| resource_of(pick).namespaced) {
        format!("No resources found in {} namespace.", session.namespace)
    } else {
        "No resources found".to_string()
    }
}

/// The request for what is picked.
pub fn call_of(args: &Args, pick: &Pick) -> Call {
    match pick {
        Pick::Named { resource, namespace, name } => {
            Call::get(discovery::object_path(resource, namespace.as_deref(), name))
        }
        Pick::InFile { resource, namespace, document } => {
            Call::get(discovery::object_path(resource, namespace.as_deref(), meta::name(&document.object)))
        }
        Pick::Listed { resource, namespace } => args.wanted().list_call(resource, namespace.as_deref()),
    }
}

async fn table_of(session: &Session, args: &Args, pick: &Pick) -> Outcome<Value> {
    let mut call = call_of(args, pick).accept(TABLE);
    if args.sort_by.is_some() {
        call = call.query("includeObject", "Object");
    }
    let answer = match pick {
        Pick::Listed { .. } => session.server.list(&call).await,
        _ => session.server.json(&call).await,
    };
    let mut table = match answer {
        Ok(answer) => as_table(answer, resource_of(pick)),
        Err(failure) => return Err(target::or_unknown(session, resource_of(pick), failure).await),
    };
    if let Some(path) = &args.sort_by
        && let Some(rows) = table.get_mut("rows").and_then(Value::as_array_mut)
    {
        sort::by_path(rows, path, |row| row.get("object").unwrap_or(&Value::Null))?;
    }
    Ok(table)
}

/// A server that makes no tables answers with objects: then names and ages have to do.
pub fn as_table(answer: Value, resource: &Resource) -> Value {
    if meta::str_at(&answer, &["kind"]) == "Table" {
        return answer;
    }
    let objects = match answer.get("items") {
        Some(_) => target::items_of(&answer, resource),
        None => vec![answer],
    };
    table::of_objects(&objects, |object| age::of(meta::str_at(object, &["metadata", "creationTimestamp"])))
}
