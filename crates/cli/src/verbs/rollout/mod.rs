//! `rollout`: history, undo, status and restart of DaemonSets.

mod history;
mod pause;
mod restart;
mod status;
mod undo;

use backstay_api::meta;
use backstay_api::resources::Resource;
use backstay_rollout::{History, Revision};
use serde_json::Value;

use crate::discovery;
use crate::error::{Failure, Outcome};
use crate::server::Call;
use crate::session::{App, Session};
use crate::target::{Item, TargetArgs};

fn check(targets: &TargetArgs) -> Outcome {
    match targets.is_empty() {
        true => Err(Failure::plain("required resource not specified")),
        false => Ok(()),
    }
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Rollout {
    /// Show which revisions there are, and what each holds
    #[command(after_help = HISTORY_EXAMPLES)]
    History(history::Args),
    /// Put the template of an earlier revision back
    #[command(after_help = UNDO_EXAMPLES)]
    Undo(undo::Args),
    /// Wait until a rollout is through
    #[command(after_help = STATUS_EXAMPLES)]
    Status(status::Args),
    /// Replace all pods, without another change
    #[command(after_help = RESTART_EXAMPLES)]
    Restart(restart::Args),
    /// Not for DaemonSets
    #[command(hide = true)]
    Pause(pause::Args),
    /// Not for DaemonSets
    #[command(hide = true)]
    Resume(pause::Args),
}

const HISTORY_EXAMPLES: &str = "Examples:
  # Which revisions are there?
  backstay rollout history ds/fluentd -n logging
  # What was in revision 3?
  backstay rollout history ds/fluentd --revision=3
  # The whole DaemonSet as revision 3 would make it
  backstay rollout history ds/fluentd --revision=3 -o yaml";

const UNDO_EXAMPLES: &str = "Examples:
  # Back to what it was before the last change
  backstay rollout undo ds/fluentd
  # Back to revision 3
  backstay rollout undo ds/fluentd --to-revision=3
  # What would come back?
  backstay rollout undo ds/fluentd --to-revision=3 --dry-run=client
An undo does not wait: follow it with `rollout status`. Revision 3 becomes the newest and gets a new number.";

const STATUS_EXAMPLES: &str = "Examples:
  # Wait until every node runs the newest template, at most five minutes
  backstay rollout status ds/fluentd --timeout=5m
  # Only look
  backstay rollout status ds/fluentd --watch=false";

const RESTART_EXAMPLES: &str = "Examples:
  # Replace all pods of one DaemonSet, within its update budget
  backstay rollout restart ds/fluentd
  # Of all DaemonSets with a label
  backstay rollout restart ds -l tier=infra";

pub async fn run(app: &App, verb: Rollout) -> Outcome {
    match verb {
        Rollout::History(args) => history::run(app, args).await,
        Rollout::Undo(args) => undo::run(app, args).await,
        Rollout::Status(args) => status::run(app, args).await,
        Rollout::Restart(args) => restart::run(app, args).await,
        Rollout::Pause(args) => pause::run(app, args, backstay_rollout::pause::pause_refusal).await,
        Rollout::Resume(args) => pause::run(app, args, backstay_rollout::pause::resume_refusal).await,
    }
}

fn is_daemonset(resource: &Resource) -> bool {
    resource.group == "apps" && resource.kind == "DaemonSet"
}

/// The revisions that the DaemonSet controls.
async fn revisions(session: &Session, daemonset: &Value) -> Outcome<History> {
    let namespace = meta::namespace(daemonset).unwrap_or("default");
    let selector = meta::value_at(daemonset, &["spec", "selector"]).unwrap_or(&Value::Null);
    let selector = backstay_api::selector::LabelSelector::from_object(selector).map_err(Failure::Plain)?;
    let path = format!("/apis/apps/v1/namespaces/{namespace}/controllerrevisions");
    let list = session.server.text(&Call::get(path).query("labelSelector", selector.to_string())).await?;
    let revisions = Revision::read_list(&list)
        .map_err(|error| Failure::plain(format!("couldn't read the list of controllerrevisions: {error}")))?;
    Ok(History::of(daemonset, revisions))
}

/// Does something to each object; goes on after a failure, and tells all of them at the end.
async fn for_each(
    session: &Session,
    targets: &TargetArgs,
    silent_if_none: bool,
    mut each: impl AsyncFnMut(&Item) -> Outcome,
) -> Outcome {
    let (items, mut failures) = targets.wanted().items(session).await?;
    if items.is_empty() && failures.is_empty() && !silent_if_none {
        session.io.err_line(&format!("No resources found in {} namespace.", session.namespace));
    }
    for item in &items {
        if let Err(failure) = each(item).await {
            failures.push(failure);
        }
    }
    Failure::from_list(failures)
}

/// A number given to a flag, with Go's words for what is none.
fn number(flag: &str, text: &str) -> Outcome<i64> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        let quoted = crate::error::quoted(text);
        Failure::plain(format!(
            "invalid argument {quoted} for \"--{flag}\" flag: strconv.ParseInt: parsing {quoted}: {why}"
        ))
    })
}

/// Says how to get help, after a flag's value made no sense.
fn with_usage(app: &App, verb: &str, failure: Failure) -> Failure {
    Failure::Text(format!("{failure}\nSee '{} rollout {verb} --help' for usage.", app.program))
}

/// `daemonsets.apps`.
fn resource_name(item: &Item) -> String {
    discovery::resource_name(&item.resource)
}
