//! `events`: what happened, oldest first.

use backstay_api::meta;
use serde_json::Value;

use super::describe::events::{interval, last_seen};
use crate::error::{Failure, Outcome};
use crate::output::grid::Grid;
use crate::server::Call;
use crate::session::{App, Session};
use crate::watch::Watch;

/// Show what happened
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only about this object, as in --for=ds/fluentd
    #[arg(long = "for", value_name = "TYPE/NAME")]
    about: Option<String>,
    /// Only these types: Normal, Warning
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// Go on as things happen
    #[arg(short, long)]
    watch: bool,
    /// Leave out the headers
    #[arg(long)]
    no_headers: bool,
}

const EXAMPLES: &str = "Examples:
  # What happened in a namespace
  backstay events -n logging
  # What happened to a DaemonSet
  backstay events --for=ds/fluentd
  # What goes wrong, as it happens
  backstay events -A --types=Warning -w";

pub async fn run(app: &App, args: Args) -> Outcome {
    for kind in &args.types {
        if !["normal", "warning"].contains(&kind.to_lowercase().as_str()) {
            return Err(Failure::plain("valid --types are: Normal, Warning"));
        }
    }
    let session = app.connect().await?;
    let path = match args.all_namespaces {
        true => "/api/v1/events".to_string(),
        false => format!("/api/v1/namespaces/{}/events", session.namespace),
    };
    let call = Call::get(path).maybe("fieldSelector", &about(&session, &args).await?);
    let list = session.server.list(&call).await?;
    let mut events: Vec<Value> =
        meta::list_at(&list, &["items"]).iter().filter(|event| wanted(&args, event)).cloned().collect();
    if events.is_empty() && !args.watch {
        session.io.err_line(&nothing(&session, &args));
        return Ok(());
    }
    events.sort_by(|a, b| last_seen(a).cmp(last_seen(b)));
    let mut grid = Grid::default();
    let mut rows: Vec<String> = if args.no_headers { Vec::new() } else { vec![header(&args)] };
    rows.extend(events.iter().map(|event| row(&args, event)));
    session.io.out(&grid.layout(&rows))?;
    if !args.watch {
        return Ok(());
    }
    let mut watch = Watch::start(&session.server, call, meta::resource_version(&list)).await?;
    while let Some(event) = watch.next().await? {
        if event.kind != "DELETED" && event.kind != "BOOKMARK" && wanted(&args, &event.object) {
            session.io.out(&grid.layout(&[row(&args, &event.object)]))?;
        }
    }
    Ok(())
}

/// The field selector of `--for`.
async fn about(session: &Session, args: &Args) -> Outcome<String> {
    let Some(target) = &args.about else { return Ok(String::new()) };
    let Some((kind, name)) = target.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty()) else {
        return Err(Failure::plain("--for must be in resource/name form"));
    };
    let resource = session.resolver.resource(kind).await?;
    let api_version = resource.api_version();
    Ok(format!(
        "involvedObject.kind={},involvedObject.apiVersion={api_version},involvedObject.name={name}",
        resource.kind
    ))
}

fn wanted(args: &Args, event: &Value) -> bool {
    let kind = meta::str_at(event, &["type"]);
    args.types.is_empty() || args.types.iter().any(|wanted| wanted.eq_ignore_ascii_case(kind))
}

fn nothing(session: &Session, args: &Args) -> String {
    if args.all_namespaces {
        "No events found.".into()
    } else {
        format!("No events found in {} namespace.", session.namespace)
    }
}

fn header(args: &Args) -> String {
    let namespace = if args.all_namespaces { "NAMESPACE\t" } else { "" };
    format!("{namespace}LAST SEEN\tTYPE\tREASON\tOBJECT\tMESSAGE")
}

fn row(args: &Args, event: &Value) -> String {
    let field = |path: &[&str]| meta::str_at(event, path);
    let namespace =
        if args.all_namespaces { format!("{}\t", field(&["metadata", "namespace"])) } else { String::new() };
    let object = format!("{}/{}", field(&["involvedObject", "kind"]), field(&["involvedObject", "name"]));
    let message = field(&["message"]).trim().replace('\n', " ");
    let (kind, reason) = (field(&["type"]), field(&["reason"]));
    format!("{namespace}{}\t{kind}\t{reason}\t{object}\t{message}", interval(event))
}
