//! `create`: new objects from files, or simple ones from flags.

mod config_map;

use std::path::PathBuf;

use backstay_api::meta;
use serde_json::{Value, json};

use super::apply::{validation, with_notes};
use crate::discovery;
use crate::error::{Failure, Outcome};
use crate::files::FileArgs;
use crate::output::{DryRun, DryRunArg, OutputArgs, Report};
use crate::server::Call;
use crate::session::App;
use crate::target::{self, Pick};

/// Create objects
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    kind: Option<Kind>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// Note the object down for a later apply
    #[arg(long)]
    save_config: bool,
    /// Under which name the change is noted in managedFields
    #[arg(long, value_name = "NAME", default_value = "kubectl-create", hide_short_help = true)]
    field_manager: String,
    /// What to do about unknown fields: strict, warn or ignore
    #[arg(long, value_name = "MODE", default_value = "strict", num_args = 0..=1, require_equals = true,
          default_missing_value = "strict", hide_short_help = true)]
    validate: String,
    #[command(flatten)]
    dry_run: DryRunArg,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Kind {
    /// A namespace
    #[command(visible_alias = "ns")]
    Namespace {
        name: String,
        #[command(flatten)]
        common: Common,
    },
    /// A config map from texts and files
    #[command(visible_alias = "cm")]
    Configmap {
        name: String,
        /// An entry, as in --from-literal=level=debug; may be repeated
        #[arg(long, value_name = "KEY=TEXT")]
        from_literal: Vec<String>,
        /// A file, or all files of a directory, as in --from-file=key=path; may be repeated
        #[arg(long, value_name = "[KEY=]PATH")]
        from_file: Vec<String>,
        /// A file with lines KEY=TEXT
        #[arg(long, value_name = "PATH")]
        from_env_file: Vec<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
}

const EXAMPLES: &str = "Examples:
  # What a file describes
  backstay create -f fluentd.yaml
  # A namespace, and a config map in it
  backstay create namespace logging
  backstay create configmap fluentd -n logging --from-literal=level=info --from-file=fluent.conf";

pub async fn run(app: &App, args: Args) -> Outcome {
    match args.kind {
        Some(Kind::Namespace { name, common }) => {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            one(app, &common, object).await
        }
        Some(Kind::Configmap { name, from_literal, from_file, from_env_file, common }) => {
            let object = config_map::object(&name, &from_literal, &from_file, &from_env_file)?;
            one(app, &common, object).await
        }
        None if args.files.is_empty() => Err(Failure::plain("must specify one of -f and -k")),
        None => from_files(app, &args.files, &args.common).await,
    }
}

async fn from_files(app: &App, files: &FileArgs, common: &Common) -> Outcome {
    let dry_run = common.dry_run.mode(&app.io)?;
    let report = Report::new(&common.output, dry_run)?;
    let session = app.connect().await?;
    let picks = target::from_files(&session, files).await?;
    if picks.is_empty() {
        return Err(Failure::plain("no objects passed to create"));
    }
    let mut failures = Vec::new();
    for pick in picks {
        let Pick::InFile { resource, namespace, document } = pick else { continue };
        let path = discovery::collection_path(&resource, namespace.as_deref());
        let mut object = document.object;
        if let Some(namespace) = &namespace {
            meta::set_meta(&mut object, "namespace", namespace.as_str());
        }
        let created = match send(&session, common, dry_run, path, object).await {
            Ok(object) => session.io.out(&report.text(&object, "created")?),
            Err(failure) if failure.is_unknown_path() => Err(target::or_unknown(&session, &resource, failure).await),
            Err(failure) => Err(failure.about("creating", &document.source)),
        };
        failures.extend(created.err());
    }
    Failure::from_list(failures)
}

/// A single object that was made from flags.
async fn one(app: &App, common: &Common, mut object: Value) -> Outcome {
    let dry_run = common.dry_run.mode(&app.io)?;
    let report = Report::new(&common.output, dry_run)?;
    if dry_run == DryRun::Client && app.globals.namespace.is_none() {
        return app.io.out(&report.text(&object, "created")?);
    }
    let session = app.connect().await?;
    let resource = session.resolver.kind(&crate::diff::kind_of(&object)).await?;
    let resource = resource.ok_or_else(|| Failure::plain("the server does not know this kind"))?;
    let namespace = target::namespace_of(&session, &resource);
    if let Some(namespace) = &namespace {
        meta::set_meta(&mut object, "namespace", namespace.as_str());
    }
    let path = discovery::collection_path(&resource, namespace.as_deref());
    let created = send(&session, common, dry_run, path, object).await.map_err(|failure| match failure {
        Failure::Api(error) if resource.kind == "ConfigMap" && error.reason != "Invalid" => {
            Failure::plain(format!("failed to create configmap: {}", error.message))
        }
        other => other,
    });
    session.io.out(&report.text(&created?, "created")?)
}

async fn send(
    session: &crate::session::Session,
    common: &Common,
    dry_run: DryRun,
    path: String,
    object: Value,
) -> Outcome<Value> {
    let object = if common.save_config { with_notes(&object) } else { object };
    if dry_run == DryRun::Client {
        return Ok(object);
    }
    let call = Call::post(path, &object)
        .maybe("dryRun", dry_run.query())
        .query("fieldManager", &common.field_manager)
        .query("fieldValidation", validation(&common.validate)?);
    session.server.json(&call).await
}
