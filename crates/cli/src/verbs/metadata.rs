//! `label` and `annotate`: one verb over two maps of `metadata`.

use std::collections::BTreeMap;

use backstay_api::meta;
use serde_json::{Map, Value, json};

use crate::error::{Failure, Outcome, quoted};
use crate::files::FileArgs;
use crate::output::{DryRun, DryRunArg, OutputArgs, Report};
use crate::server::{Call, MERGE};
use crate::session::App;
use crate::target::{Item, Wanted};

/// Which of the two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Labels,
    Annotations,
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// TYPE NAME... (or TYPE/NAME...), then KEY=VALUE to set, KEY- to remove
    #[arg(value_name = "TYPE/NAME KEY=VALUE KEY-", allow_hyphen_values = false)]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// Label query that chooses the objects
    #[arg(short = 'l', long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    selector: String,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Change values that are there already
    #[arg(long)]
    overwrite: bool,
    /// Only show what is there
    #[arg(long)]
    list: bool,
    /// Only if the object is still at this version
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
    resource_version: String,
    /// Under which name the change is noted in managedFields
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    field_manager: Option<String>,
    #[command(flatten)]
    dry_run: DryRunArg,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "Examples:
  # Why the next revision is made: history shows it
  backstay annotate ds/fluentd kubernetes.io/change-cause='fluentd 1.17' --overwrite
  # A label for a node, and away with another
  backstay label node edge-1 rack=b old-";

impl Kind {
    fn field(self) -> &'static str {
        if self == Self::Labels { "labels" } else { "annotations" }
    }

    fn verb(self) -> &'static str {
        if self == Self::Labels { "label" } else { "annotate" }
    }
}

pub async fn run(app: &App, kind: Kind, args: Args) -> Outcome {
    let (words, changes) = changes(kind, &args.words)?;
    if changes.is_empty() && !args.list {
        let what = if kind == Kind::Labels { "label" } else { "annotation" };
        return Err(Failure::plain(format!("at least one {what} update is required")));
    }
    if words.is_empty() && args.files.is_empty() {
        return Err(Failure::plain(
            "one or more resources must be specified as <resource> <name> or <resource>/<name>",
        ));
    }
    let dry_run = args.dry_run.mode(&app.io)?;
    let report = Report::new(&args.output, dry_run)?;
    let session = app.connect().await?;
    let wanted = Wanted {
        words: &words,
        files: Some(&args.files),
        selector: &args.selector,
        all_namespaces: args.all_namespaces,
        type_alone: args.all,
        ..Wanted::default()
    };
    let (items, mut failures) = wanted.items(&session).await?;
    for item in &items {
        if args.list {
            let listed = meta::string_map(meta::value_at(&item.object, &["metadata", kind.field()]));
            let lines: String = listed.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
            session.io.out(&lines)?;
            continue;
        }
        let done = change(&session, kind, &args, dry_run, item, &changes).await;
        match done {
            Ok((object, operation)) => session.io.out(&report.text(&object, operation)?)?,
            Err(failure) => failures.push(failure),
        }
    }
    Failure::from_list(failures)
}

/// What to set (`Some`) and what to remove.
type Changes = BTreeMap<String, Option<String>>;

/// Leading words name objects; the first with `=`, or a `-` at its end, begins the changes.
fn changes(kind: Kind, words: &[String]) -> Outcome<(Vec<String>, Changes)> {
    let is_change = |word: &String| word.contains('=') || word.ends_with('-');
    let first = words.iter().position(is_change).unwrap_or(words.len());
    let mut changes = Changes::new();
    for word in &words[first..] {
        let change = match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => (key.to_string(), Some(value.to_string())),
            None if word.len() > 1 && word.ends_with('-') => (word[..word.len() - 1].to_string(), None),
            _ => {
                let what = if kind == Kind::Labels { "label" } else { "annotation" };
                return Err(Failure::plain(format!("unknown {what} spec: {word}")));
            }
        };
        if changes.get(&change.0).is_some_and(|earlier| earlier.is_some() != change.1.is_some()) {
            let what = if kind == Kind::Labels { "a label" } else { "an annotation" };
            return Err(Failure::plain(format!("can not both modify and remove {what} in the same command")));
        }
        changes.insert(change.0, change.1);
    }
    Ok((words[..first].to_vec(), changes))
}

async fn change(
    session: &crate::session::Session,
    kind: Kind,
    args: &Args,
    dry_run: DryRun,
    item: &Item,
    changes: &Changes,
) -> Outcome<(Value, &'static str)> {
    let present = meta::string_map(meta::value_at(&item.object, &["metadata", kind.field()]));
    if !args.overwrite {
        refuse_overwriting(kind, &present, changes)?;
    }
    let mut patch = Map::new();
    for (key, value) in changes {
        match value {
            None if !present.contains_key(key) && kind == Kind::Labels => {
                session.io.out(&format!("label {} not found.\n", quoted(key)))?;
            }
            Some(value) if present.get(key) == Some(value) => {}
            value => drop(patch.insert(key.clone(), value.clone().map_or(Value::Null, Value::from))),
        }
    }
    let operation = operation(kind, &patch);
    if patch.is_empty() && kind == Kind::Labels {
        return Ok((item.object.clone(), operation));
    }
    let mut body = json!({"metadata": {kind.field(): patch}});
    if !args.resource_version.is_empty() {
        meta::set_meta(&mut body, "resourceVersion", args.resource_version.as_str());
    }
    if dry_run == DryRun::Client {
        return Ok((item.object.clone(), operation));
    }
    let manager = args.field_manager.clone().unwrap_or_else(|| format!("kubectl-{}", kind.verb()));
    let call = Call::patch(item.path(), MERGE, body.to_string())
        .maybe("dryRun", dry_run.query())
        .query("fieldManager", manager);
    Ok((session.server.json(&call).await?, operation))
}

fn operation(kind: Kind, patch: &Map<String, Value>) -> &'static str {
    match kind {
        Kind::Annotations => "annotated",
        Kind::Labels if patch.is_empty() => "not labeled",
        Kind::Labels if patch.values().all(Value::is_null) => "unlabeled",
        Kind::Labels => "labeled",
    }
}

fn refuse_overwriting(kind: Kind, present: &BTreeMap<String, String>, changes: &Changes) -> Outcome {
    let differs = |key: &String, value: &Option<String>| {
        let old = present.get(key)?;
        value.as_ref().filter(|value| *value != old).map(|_| format!("'{key}' already has a value ({old})"))
    };
    let found: Vec<String> = changes.iter().filter_map(|(key, value)| differs(key, value)).collect();
    match (kind, found.is_empty()) {
        (_, true) => Ok(()),
        (Kind::Labels, false) => Err(Failure::plain(format!("{}, and --overwrite is false", found.join("; ")))),
        (Kind::Annotations, false) => Err(Failure::plain(format!(
            "--overwrite is false but found the following declared annotation(s): {}",
            found.join("; ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_objects_first_and_changes_then() {
        let words = |text: &str| text.split(' ').map(str::to_string).collect::<Vec<_>>();
        let (objects, changes) = changes(Kind::Labels, &words("node n-1 a=b c= d-")).unwrap();
        assert_eq!(objects, ["node", "n-1"]);
        let expected = [("a", Some("b")), ("c", Some("")), ("d", None)];
        let expected: Changes =
            expected.iter().map(|(key, value)| (key.to_string(), value.map(str::to_string))).collect();
        assert_eq!(changes, expected);
        let error = super::changes(Kind::Labels, &words("node n a=b a-")).unwrap_err().to_string();
        assert_eq!(error, "error: can not both modify and remove a label in the same command");
    }
}
