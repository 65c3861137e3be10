//! `describe`: an object in words, with the events about it.

mod config;
mod daemonset;
pub mod events;
mod generic;
mod node;
mod pod;

use backstay_api::meta;
use backstay_rollout::tabs;

use crate::error::{Failure, Outcome};
use crate::session::{App, Session};
use crate::target::{Item, Pick, TargetArgs, Wanted};

/// Show objects in words, with the events about them
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// --show-events=false leaves the events out
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    show_events: bool,
}

const EXAMPLES: &str = "Examples:
  # A DaemonSet, its template and what happened to it
  backstay describe ds/fluentd
  # All pods whose names begin with fluentd-
  backstay describe pod fluentd-
  # A node, and what runs there
  backstay describe node edge-1";

pub async fn run(app: &App, args: Args) -> Outcome {
    if args.target.is_empty() {
        return Err(Failure::plain(format!(
            "You must specify the type of resource to describe. Use \"{} api-resources\" for a complete list of \
             supported resources.",
            app.program
        )));
    }
    let session = app.connect().await?;
    let wanted = Wanted { all_namespaces: args.all_namespaces, ..args.target.wanted() };
    let mut failures = Vec::new();
    let mut items = Vec::new();
    for pick in wanted.picks(&session).await? {
        match found(&session, &wanted, pick).await {
            Ok(found) => items.extend(found),
            Err(failure) => failures.push(failure),
        }
    }
    if items.is_empty() && failures.is_empty() {
        let place = format!("No resources found in {} namespace.", session.namespace);
        session.io.err_line(if args.all_namespaces { "No resources found" } else { &place });
    }
    let mut first = true;
    for item in &items {
        match text(&session, item, args.show_events).await {
            Ok(text) => session.io.out(&format!("{}{text}", if first { "" } else { "\n\n" }))?,
            Err(failure) => failures.push(failure),
        }
        first = false;
    }
    Failure::from_list(failures)
}

/// What is named; if there is nothing of that name, everything whose name begins so.
async fn found(session: &Session, wanted: &Wanted<'_>, pick: Pick) -> Outcome<Vec<Item>> {
    let prefix = match &pick {
        Pick::Named { resource, namespace, name } => Some((resource.clone(), namespace.clone(), name.clone())),
        _ => None,
    };
    match wanted.fetch(session, pick).await {
        Err(failure) if failure.is_not_found() => {
            let Some((resource, namespace, prefix)) = prefix else { return Err(failure) };
            let all = wanted.list(session, &resource, namespace.as_deref()).await.unwrap_or_default();
            let matching = all.into_iter().filter(|object| meta::name(object).starts_with(&prefix));
            let items: Vec<Item> = matching.map(|object| Item::of(resource.clone(), object)).collect();
            if items.is_empty() { Err(failure) } else { Ok(items) }
        }
        found => found,
    }
}

async fn text(session: &Session, item: &Item, show_events: bool) -> Outcome<String> {
    let mut description = match (item.resource.group.as_str(), item.resource.kind.as_str()) {
        ("apps", "DaemonSet") => daemonset::text(session, &item.object).await?,
        ("", "Pod") => pod::text(&item.object),
        ("", "Node") => node::text(session, &item.object).await?,
        ("", "ConfigMap") => config::config_map(&item.object),
        ("", "Secret") => return Ok(tabs::align(&config::secret(&item.object), 0, 2)),
        _ => generic::text(&item.object),
    };
    if !show_events {
        return Ok(tabs::align(&description, 0, 2));
    }
    // Events that cannot be listed do not spoil the rest.
    let Ok(events) = events::about(session, item).await else {
        return Ok(tabs::align(&description, 0, 2));
    };
    if events.is_empty() {
        description.push_str("Events:\t<none>\n");
        return Ok(tabs::align(&description, 0, 2));
    }
    let events = tabs::align(&events::text(&events), 0, 2);
    Ok(format!("{}{events}", tabs::align(&description, 0, 2)))
}
