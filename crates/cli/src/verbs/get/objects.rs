//! Objects as JSON, YAML, names, or what a template makes of them.

use serde_json::Value;

use super::human::{call_of, resource_of};
use super::{Args, sort};
use crate::error::{Failure, Outcome};
use crate::output::{self, Format, grid};
use crate::session::Session;
use crate::target::{self, Pick};

pub async fn print(session: &Session, args: &Args, format: &Format, picks: Vec<Pick>) -> Outcome {
    let mut failures = Vec::new();
    let mut objects = Vec::new();
    // One object that was named is printed itself; whatever may be several, as a list.
    let one = matches!(picks[..], [Pick::Named { .. } | Pick::InFile { .. }]);
    for pick in &picks {
        match fetch(session, args, pick).await {
            Ok(found) => objects.extend(found),
            Err(failure) if failure.is_not_found() && args.ignore_not_found => {}
            Err(failure) => failures.push(failure),
        }
    }
    if let Some(path) = &args.sort_by {
        sort::by_path(&mut objects, path, |object| object)?;
    }
    let nothing = objects.is_empty() && (one || !failures.is_empty() || args.ignore_not_found);
    if !nothing {
        session.io.out(&text(args, format, objects, one)?)?;
    }
    Failure::from_list(failures)
}

fn text(args: &Args, format: &Format, mut objects: Vec<Value>, one: bool) -> Outcome<String> {
    match format {
        Format::Name => Ok(objects.iter().map(|object| format!("{}\n", output::name(object))).collect()),
        Format::Columns(columns) => {
            let header = (!args.no_headers).then(|| columns.header());
            let rows = objects.iter().map(|object| columns.row(object)).collect::<Result<Vec<_>, _>>();
            let rows: Vec<String> = header.into_iter().chain(rows.map_err(Failure::Plain)?).collect();
            Ok(grid::layout(&rows))
        }
        format => {
            let object = if one && objects.len() == 1 { objects.remove(0) } else { output::list(objects) };
            format.object(&object, true, args.show_managed_fields)
        }
    }
}

async fn fetch(session: &Session, args: &Args, pick: &Pick) -> Outcome<Vec<Value>> {
    let call = call_of(args, pick);
    let resource = resource_of(pick);
    let answer = match pick {
        Pick::Listed { .. } => session.server.list(&call).await.map(|list| target::items_of(&list, resource)),
        _ => session.server.json(&call).await.map(|object| vec![object]),
    };
    match answer {
        Ok(objects) => Ok(objects),
        Err(failure) => Err(target::or_unknown(session, resource, failure).await),
    }
}
