//! `diff`: what an apply would change.

use backstay_api::meta::{self, LAST_APPLIED};
use serde_json::{Value, json};
use similar::TextDiff;

use crate::diff as patches;
use crate::error::{Failure, Outcome};
use crate::files::FileArgs;
use crate::output::{self, yaml};
use crate::server::{APPLY, Call};
use crate::session::{App, Session};
use crate::target::{self, Pick};

/// Show what an apply would change
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    files: FileArgs,
    /// As apply --server-side would
    #[arg(long)]
    server_side: bool,
    /// With --server-side: take over fields of others
    #[arg(long)]
    force_conflicts: bool,
    /// Show managedFields too
    #[arg(long)]
    show_managed_fields: bool,
}

const EXAMPLES: &str = "Examples:
  # What would change? Exit code 0: nothing, 1: something, more: it could not be found out
  backstay diff -f fluentd.yaml";

/// Means "could not be found out", as 1 means "there are differences".
const TROUBLE: u8 = 2;

pub async fn run(app: &App, args: Args) -> Outcome {
    match compare(app, &args).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::Exit(1)),
        Err(failure) => {
            app.io.err_line(&failure.to_string());
            Err(Failure::Exit(TROUBLE))
        }
    }
}

/// Prints the differences. True: there are some.
async fn compare(app: &App, args: &Args) -> Outcome<bool> {
    if args.files.is_empty() {
        return Err(Failure::plain("must specify one of -f and -k"));
    }
    let session = app.connect().await?;
    let mut different = false;
    for pick in target::from_files(&session, &args.files).await? {
        let (before, after) = states(&session, args, &pick).await?;
        let name = file_name(&pick);
        let text = |object: &Option<Value>| {
            let shown =
                |object: &Value| yaml::text(&output::without_managed_fields(object.clone(), args.show_managed_fields));
            object.as_ref().map(shown).unwrap_or_default()
        };
        let (before, after) = (text(&before), text(&Some(after)));
        if before != after {
            different = true;
            let diff = TextDiff::from_lines(&before, &after);
            let diff = diff.unified_diff().header(&format!("LIVE/{name}"), &format!("MERGED/{name}")).to_string();
            session.io.out(&format!("diff -u -N LIVE/{name} MERGED/{name}\n{diff}"))?;
        }
    }
    Ok(different)
}

/// The object as it is, and as it would be.
async fn states(session: &Session, args: &Args, pick: &Pick) -> Outcome<(Option<Value>, Value)> {
    let Pick::InFile { resource, namespace, document } = pick else {
        return Err(Failure::plain("only files can be compared"));
    };
    let mut object = document.object.clone();
    if let Some(namespace) = namespace {
        meta::set_meta(&mut object, "namespace", namespace.as_str());
    }
    let path = crate::discovery::object_path(resource, namespace.as_deref(), meta::name(&object));
    let before = match session.server.json(&Call::get(&path)).await {
        Ok(object) => Some(object),
        Err(failure) if failure.is_not_found() && !failure.is_unknown_path() => None,
        Err(failure) => return Err(target::or_unknown(session, resource, failure).await),
    };
    let call = match (&before, args.server_side) {
        (_, true) => Call::patch(path, APPLY, object.to_string())
            .query("fieldManager", "kubectl")
            .query("force", args.force_conflicts.to_string()),
        (None, false) => {
            let path = crate::discovery::collection_path(resource, namespace.as_deref());
            Call::post(path, &super::apply::with_notes(&object)).query("fieldManager", "kubectl-client-side-apply")
        }
        (Some(current), false) => {
            let original = meta::annotation(current, LAST_APPLIED).unwrap_or("{}");
            let original: Value = serde_json::from_str(original).unwrap_or_else(|_| json!({}));
            let modified = super::apply::with_notes(&object);
            let patch = patches::three_way(&resource.gvk(), &original, &modified, current).map_err(Failure::Plain)?;
            Call::patch(path, patch.kind, patch.body.to_string()).query("fieldManager", "kubectl-client-side-apply")
        }
    };
    let mut after = session.server.json(&call.query("dryRun", "All")).await?;
    // What the note says is no difference worth showing.
    let mut before = before;
    for object in before.iter_mut().chain([&mut after]) {
        if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }
    Ok((before, after))
}

/// `apps.v1.DaemonSet.default.x`.
fn file_name(pick: &Pick) -> String {
    let Pick::InFile { resource, namespace, document } = pick else { return String::new() };
    let group = if resource.group.is_empty() { String::new() } else { format!("{}.", resource.group) };
    let namespace = namespace.as_deref().unwrap_or("");
    format!("{group}{}.{}.{namespace}.{}", resource.version, resource.kind, meta::name(&document.object))
}
