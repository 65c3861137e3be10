//! `get`: objects as a table, or in another form.

mod human;
mod objects;
mod sort;
mod watch;

use crate::error::{Failure, Outcome};
use crate::files::FileArgs;
use crate::output::{Format, OutputArgs};
use crate::server::Call;
use crate::session::App;
use crate::target::Wanted;

/// Show objects
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// TYPE, TYPE NAME..., TYPE/NAME..., or all
    #[arg(value_name = "TYPE/NAME")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub files: FileArgs,
    /// Print as: wide, json, yaml, kyaml, name, jsonpath=..., jsonpath-file=..., custom-columns=..., custom-columns-file=...
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<String>,
    /// Template for -o jsonpath
    #[arg(long, value_name = "TEMPLATE", hide_short_help = true)]
    pub template: Option<String>,
    /// Keep managedFields when printing as json or yaml
    #[arg(long)]
    pub show_managed_fields: bool,
    /// Label query, as in -l app=x,tier!=y
    #[arg(short = 'l', long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    pub selector: String,
    /// Field query, as in --field-selector spec.nodeName=n1
    #[arg(long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    pub field_selector: String,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Go on, and show what changes
    #[arg(short, long)]
    pub watch: bool,
    /// Show only what changes from now on
    #[arg(long)]
    pub watch_only: bool,
    /// Leave out the headers
    #[arg(long)]
    pub no_headers: bool,
    /// Show all labels in a last column
    #[arg(long)]
    pub show_labels: bool,
    /// Show these labels as columns
    #[arg(short = 'L', long, value_name = "LABEL", value_delimiter = ',')]
    pub label_columns: Vec<String>,
    /// Show the type with each name
    #[arg(long)]
    pub show_kind: bool,
    /// Sort by this path, as in --sort-by=.metadata.creationTimestamp
    #[arg(long, value_name = "PATH")]
    pub sort_by: Option<String>,
    /// What is not there is no error
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Print the server's answer to a path as it is
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub raw: Option<String>,
}

const EXAMPLES: &str = "Examples:
  # DaemonSets of a namespace, with images
  backstay get ds -n logging -o wide
  # Their revisions
  backstay get controllerrevisions -l app=fluentd --sort-by=.revision
  # Nodes and pods, as they change
  backstay get pods -A -w
  # One field of one object
  backstay get ds fluentd -o jsonpath='{.status.numberReady}'";

pub async fn run(app: &App, args: Args) -> Outcome {
    if let Some(path) = &args.raw {
        return raw(app, path).await;
    }
    if args.words.is_empty() && args.files.is_empty() {
        let program = app.program;
        return Err(Failure::Text(format!(
            "You must specify the type of resource to get. Use \"{program} api-resources\" for a complete list of \
             supported resources.\n\nerror: Required resource not specified.\nUse \"{program} explain <resource>\" for \
             a detailed description of that resource (e.g. {program} explain pods).\nSee '{program} get -h' for help \
             and examples"
        )));
    }
    let format = args.format()?;
    let session = app.connect().await?;
    let wanted = args.wanted();
    let picks = wanted.picks(&session).await?;
    if args.watch || args.watch_only {
        return watch::run(&session, &args, format, picks).await;
    }
    match format {
        None | Some(Format::Wide) => human::print(&session, &args, format.is_some(), picks).await,
        Some(format) => objects::print(&session, &args, &format, picks).await,
    }
}

impl Args {
    fn format(&self) -> Outcome<Option<Format>> {
        let output = OutputArgs {
            output: self.output.clone(),
            template: self.template.clone(),
            show_managed_fields: self.show_managed_fields,
        };
        output.format(true)
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            words: &self.words,
            files: Some(&self.files),
            selector: &self.selector,
            field_selector: &self.field_selector,
            all_namespaces: self.all_namespaces,
            type_alone: true,
        }
    }
}

async fn raw(app: &App, path: &str) -> Outcome {
    let session = app.connect().await?;
    let bytes = session.server.bytes(&Call::get(path)).await?;
    session.io.out_bytes(&bytes)
}
