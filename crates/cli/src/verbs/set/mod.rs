//! `set image` and `set env`: small changes to pod templates.

mod env;
mod image;

use backstay_api::meta;
use serde_json::Value;

use crate::diff;
use crate::error::{Failure, Outcome, quoted};
use crate::files::FileArgs;
use crate::output::{DryRun, DryRunArg, OutputArgs, Report};
use crate::server::Call;
use crate::session::App;
use crate::target::{Item, Wanted};

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Set {
    /// Change the images of containers
    #[command(after_help = IMAGE_EXAMPLES)]
    Image(Args),
    /// Change the environment of containers
    #[command(after_help = ENV_EXAMPLES)]
    Env(Args),
}

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// TYPE/NAME... (or TYPE NAME...), then the changes
    #[arg(value_name = "TYPE/NAME KEY=VALUE")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// Label query that chooses the objects
    #[arg(short = 'l', long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    selector: String,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// For set env: only these containers
    #[arg(short, long, value_name = "NAME", default_value = "*")]
    containers: String,
    /// Under which name the change is noted in managedFields
    #[arg(long, value_name = "NAME", default_value = "kubectl-set", hide_short_help = true)]
    field_manager: String,
    #[command(flatten)]
    dry_run: DryRunArg,
    #[command(flatten)]
    output: OutputArgs,
}

const IMAGE_EXAMPLES: &str = "Examples:
  # A new version: the rollout begins at once
  backstay set image ds/fluentd fluentd=fluentd:1.17
  # The same image for all containers
  backstay set image ds/fluentd '*=fluentd:1.17'";

const ENV_EXAMPLES: &str = "Examples:
  # Set one variable and remove another
  backstay set env ds/fluentd LEVEL=debug OLD-";

pub async fn run(app: &App, verb: Set) -> Outcome {
    match verb {
        Set::Image(args) => {
            let (words, images) = image::changes(&args.words)?;
            change(app, &args, words, "image updated", |object| image::set(object, &images)).await
        }
        Set::Env(args) => {
            let (words, variables) = env::changes(&args.words)?;
            change(app, &args, words, "env updated", |object| env::set(object, &args.containers, &variables)).await
        }
    }
}

async fn change(
    app: &App,
    args: &Args,
    words: Vec<String>,
    operation: &str,
    edit: impl Fn(&mut Value) -> Result<(), String>,
) -> Outcome {
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
        type_alone: args.all,
        ..Wanted::default()
    };
    let (items, mut failures) = wanted.items(&session).await?;
    for item in &items {
        let name = format!("{}/{}", item.resource.plural, item.name);
        let mut object = item.object.clone();
        if let Err(why) = edit(&mut object) {
            failures.push(Failure::plain(why));
            continue;
        }
        let patch = diff::two_way(&item.resource.gvk(), &item.object, &object).map_err(Failure::Plain)?;
        if patch.is_empty() {
            // Nothing to say about an object that is as it should be, unless its form was asked for.
            if report.has_format() {
                session.io.out(&report.text(&item.object, operation)?)?;
            }
            continue;
        }
        match send(&session, args, dry_run, item, object, &patch).await {
            Ok(object) => session.io.out(&report.text(&object, operation)?)?,
            Err(failure) => failures.push(match failure {
                Failure::Api(error) if error.reason != "Invalid" => Failure::plain(format!(
                    "failed to patch {} update to pod template {}: {}",
                    operation.split(' ').next().unwrap_or(""),
                    name,
                    error.message
                )),
                other => other,
            }),
        }
    }
    Failure::from_list(failures)
}

async fn send(
    session: &crate::session::Session,
    args: &Args,
    dry_run: DryRun,
    item: &Item,
    object: Value,
    patch: &diff::Patch,
) -> Outcome<Value> {
    if dry_run == DryRun::Client {
        return Ok(object);
    }
    let call = Call::patch(item.path(), patch.kind, patch.body.to_string())
        .maybe("dryRun", dry_run.query())
        .query("fieldManager", &args.field_manager);
    session.server.json(&call).await
}

/// The pod spec inside an object: of a pod itself, or of a template.
fn pod_spec(object: &mut Value) -> Result<&mut Value, String> {
    let kind = meta::str_at(object, &["kind"]).to_string();
    let path = match kind.as_str() {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    let name = meta::name(object).to_string();
    object
        .pointer_mut(path)
        .filter(|spec| spec.is_object())
        .ok_or_else(|| format!("{}/{name} is not a pod or does not have a pod template", kind.to_lowercase()))
}

/// Words up to the first `KEY=VALUE` (or `KEY-`) name objects.
fn split(words: &[String], is_change: impl Fn(&str) -> bool) -> (Vec<String>, &[String]) {
    let first = words.iter().position(|word| is_change(word)).unwrap_or(words.len());
    (words[..first].to_vec(), &words[first..])
}

fn unknown_container(name: &str) -> String {
    format!("unable to find container named {}", quoted(name))
}

/// All containers of a pod spec, init containers first.
fn containers(spec: &mut Value) -> Vec<&mut Value> {
    let Some(fields) = spec.as_object_mut() else { return Vec::new() };
    let mut lists: Vec<(&String, &mut Value)> =
        fields.iter_mut().filter(|(name, _)| ["initContainers", "containers"].contains(&name.as_str())).collect();
    lists.sort_by_key(|(name, _)| name.as_str() == "containers");
    lists.into_iter().filter_map(|(_, list)| list.as_array_mut()).flatten().collect()
}
