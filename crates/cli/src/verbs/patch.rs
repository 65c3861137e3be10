//! `patch`: changes fields of objects.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::error::{Failure, Outcome, quoted};
use crate::files::{self, FileArgs};
use crate::output::{DryRun, DryRunArg, OutputArgs, Report};
use crate::server::{Call, JSON_PATCH, MERGE, STRATEGIC};
use crate::session::App;
use crate::target::Wanted;

/// Change fields of objects
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// TYPE NAME..., TYPE/NAME...
    #[arg(value_name = "TYPE/NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// The patch, as JSON or YAML
    #[arg(short, long, value_name = "TEXT")]
    patch: Option<String>,
    /// File with the patch
    #[arg(long, value_name = "PATH")]
    patch_file: Option<PathBuf>,
    /// strategic (lists merge by name), merge (lists are replaced) or json (a list of operations)
    #[arg(long = "type", value_name = "KIND", default_value = "strategic")]
    kind: String,
    /// Change a subresource, such as status
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
    /// Under which name the change is noted in managedFields
    #[arg(long, value_name = "NAME", default_value = "kubectl-patch", hide_short_help = true)]
    field_manager: String,
    #[command(flatten)]
    dry_run: DryRunArg,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "Examples:
  # One field
  backstay patch ds fluentd -p '{\"spec\":{\"minReadySeconds\":10}}'
  # Two nodes at a time
  backstay patch ds/fluentd --type=json \\
    -p '[{\"op\":\"replace\",\"path\":\"/spec/updateStrategy/rollingUpdate/maxUnavailable\",\"value\":2}]'";

pub async fn run(app: &App, args: Args) -> Outcome {
    let kind = match args.kind.as_str() {
        "strategic" => STRATEGIC,
        "merge" => MERGE,
        "json" => JSON_PATCH,
        _ => {
            return Err(Failure::plain(
                "--type must be one of [json merge strategic], not ".to_string() + &quoted(&args.kind),
            ));
        }
    };
    let body = body(&args)?;
    if args.words.is_empty() && args.files.is_empty() {
        return Err(Failure::plain("must specify a resource and name"));
    }
    let dry_run = args.dry_run.mode(&app.io)?;
    let report = Report::new(&args.output, dry_run)?;
    let session = app.connect().await?;
    let wanted = Wanted { words: &args.words, files: Some(&args.files), ..Wanted::default() };
    let (items, mut failures) = wanted.items(&session).await?;
    for item in &items {
        if dry_run == DryRun::Client {
            session.io.out(&report.text(&item.object, "patched")?)?;
            continue;
        }
        let path = match &args.subresource {
            Some(subresource) => format!("{}/{subresource}", item.path()),
            None => item.path(),
        };
        let call = Call::patch(path, kind, body.clone())
            .maybe("dryRun", dry_run.query())
            .query("fieldManager", &args.field_manager);
        match session.server.json(&call).await {
            Ok(object) => {
                let operation = if object == item.object { "patched (no change)" } else { "patched" };
                session.io.out(&report.text(&object, operation)?)?;
            }
            Err(failure) => failures.push(failure),
        }
    }
    Failure::from_list(failures)
}

/// The patch as JSON.
fn body(args: &Args) -> Outcome<String> {
    let text = match (&args.patch, &args.patch_file) {
        (Some(_), Some(_)) => return Err(Failure::plain("cannot specify --patch and --patch-file together")),
        (Some(text), None) => text.clone(),
        (None, Some(path)) => fs::read_to_string(path)
            .map_err(|error| Failure::plain(format!("unable to read patch file: {}: {error}", path.display())))?,
        (None, None) => {
            return Err(Failure::plain("must specify --patch or --patch-file containing the contents of the patch"));
        }
    };
    let unreadable = |why: String| Failure::plain(format!("unable to parse {}: {why}", quoted(&text)));
    if serde_json::from_str::<Value>(&text).is_ok() {
        return Ok(text);
    }
    match files::yaml_documents(&text).map_err(unreadable)?.as_slice() {
        [patch] if patch.is_object() || patch.is_array() => Ok(patch.to_string()),
        _ => Err(unreadable("not an object".into())),
    }
}
