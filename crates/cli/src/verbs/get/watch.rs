//! `get --watch`: first what is there, then what changes, until the server or the user ends it.

use backstay_api::meta;
use serde_json::Value;

use super::Args;
use super::human::{as_table, call_of, look};
use crate::discovery;
use crate::error::{Failure, Outcome};
use crate::output::grid::Grid;
use crate::output::{Format, table};
use crate::server::{Call, TABLE};
use crate::session::Session;
use crate::target::Pick;
use crate::watch::Watch;

pub async fn run(session: &Session, args: &Args, format: Option<Format>, picks: Vec<Pick>) -> Outcome {
    let [pick] = &picks[..] else {
        return Err(Failure::plain("you may only specify a single resource type"));
    };
    let as_rows = matches!(format, None | Some(Format::Wide));
    let mut printer =
        Printer { session, args, format, pick, grid: Grid::default(), columns: Value::Null, begun: false };
    let call = watch_call(args, pick);
    let call = if as_rows { call.accept(TABLE) } else { call };
    let mut first = session.server.list(&call).await?;
    let version = meta::resource_version(&first).to_string();
    if !args.watch_only {
        if as_rows {
            printer.rows(first)?;
        } else {
            for object in crate::target::items_of(&first, super::human::resource_of(pick)) {
                printer.object(&object)?;
            }
        }
    } else if let Some(rows) = first.get_mut("rows").and_then(Value::as_array_mut) {
        rows.clear();
    }
    let mut watch = Watch::start(&session.server, call, &version).await?;
    while let Some(event) = watch.next().await? {
        match event.kind.as_str() {
            "BOOKMARK" => {}
            _ if as_rows => printer.rows(event.object)?,
            _ => printer.object(&event.object)?,
        }
    }
    Ok(())
}

/// A collection: for one name, the collection narrowed down to it.
fn watch_call(args: &Args, pick: &Pick) -> Call {
    let named = |resource, namespace: &Option<String>, name: &str| {
        Call::get(discovery::collection_path(resource, namespace.as_deref()))
            .query("fieldSelector", format!("metadata.name={name}"))
    };
    match pick {
        Pick::Named { resource, namespace, name } => named(resource, namespace, name),
        Pick::InFile { resource, namespace, document } => named(resource, namespace, meta::name(&document.object)),
        Pick::Listed { .. } => call_of(args, pick),
    }
}

struct Printer<'a> {
    session: &'a Session,
    args: &'a Args,
    format: Option<Format>,
    pick: &'a Pick,
    grid: Grid,
    /// Of the first table; later ones leave them out.
    columns: Value,
    begun: bool,
}

impl Printer<'_> {
    fn rows(&mut self, answer: Value) -> Outcome {
        let resource = super::human::resource_of(self.pick);
        let mut table = as_table(answer, resource);
        if meta::list_at(&table, &["columnDefinitions"]).is_empty() {
            table["columnDefinitions"] = self.columns.clone();
        } else {
            self.columns = table["columnDefinitions"].clone();
        }
        let look = look(self.args, resource, self.format.is_some(), false);
        let (header, rows) = table::lines(&table, &look);
        if rows.is_empty() {
            return Ok(());
        }
        let header = header.filter(|_| !std::mem::replace(&mut self.begun, true));
        let lines: Vec<String> = header.into_iter().chain(rows).collect();
        self.session.io.out(&self.grid.layout(&lines))
    }

    fn object(&mut self, object: &Value) -> Outcome {
        let Some(format) = &self.format else { return Ok(()) };
        let first = !std::mem::replace(&mut self.begun, true);
        self.session.io.out(&format.object(object, first, self.args.show_managed_fields)?)
    }
}
