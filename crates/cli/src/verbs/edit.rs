//! `edit`: an object in the user's editor, and back.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use backstay_api::meta;
use serde_json::Value;

use crate::diff;
use crate::error::{Failure, Outcome, quoted};
use crate::files;
use crate::output::{self, OutputArgs, Report, yaml};
use crate::server::Call;
use crate::session::{App, Session};
use crate::target::{Item, TargetArgs};

/// Change objects in an editor
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// Under which name the change is noted in managedFields
    #[arg(long, value_name = "NAME", default_value = "kubectl-edit", hide_short_help = true)]
    field_manager: String,
    /// Note the object down for a later apply
    #[arg(long)]
    save_config: bool,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "Examples:
  # A DaemonSet in $KUBE_EDITOR, $EDITOR or vi
  backstay edit ds/fluentd";

const HELP: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
";

pub async fn run(app: &App, args: Args) -> Outcome {
    if args.target.is_empty() {
        return Err(Failure::plain("must specify the type of resource to edit"));
    }
    let report = Report::new(&args.output, output::DryRun::None)?;
    let session = app.connect().await?;
    let (items, mut failures) = args.target.wanted().items(&session).await?;
    for item in &items {
        match edit(&session, &args, &app.editor, item).await {
            Ok(Some(object)) => session.io.out(&report.text(&object, "edited")?)?,
            Ok(None) => session.io.err_line("Edit cancelled, no changes made."),
            Err(failure) => failures.push(failure),
        }
    }
    Failure::from_list(failures)
}

/// Opens the editor until what it leaves is accepted, or the same as before. `None`: nothing was changed.
async fn edit(session: &Session, args: &Args, editor: &str, item: &Item) -> Outcome<Option<Value>> {
    let original = output::without_managed_fields(item.object.clone(), args.output.show_managed_fields);
    let mut body = yaml::text(&original);
    let first = body.clone();
    let mut complaint = String::new();
    loop {
        let path = write(&format!("{HELP}{complaint}{body}"))?;
        open(editor, &path)?;
        let edited = fs::read_to_string(&path).map_err(|error| Failure::plain(error.to_string()))?;
        let edited = without_comments(&edited);
        if edited.trim().is_empty() || edited == first {
            drop(fs::remove_file(&path));
            return Ok(None);
        }
        if !complaint.is_empty() && edited == body {
            // The same again will not be accepted either.
            let place = format!("A copy of your changes has been stored to {}", quoted(&path.to_string_lossy()));
            session.io.err_line(&place);
            return Err(Failure::plain("Edit cancelled, no valid changes were saved."));
        }
        match save(session, args, item, &original, &edited).await {
            Ok(object) => {
                drop(fs::remove_file(&path));
                return Ok(object);
            }
            Err(failure) => {
                complaint = failure.to_string().lines().map(|line| format!("# {line}\n")).collect::<String>() + "#\n";
                body = edited;
                drop(fs::remove_file(&path));
            }
        }
    }
}

async fn save(session: &Session, args: &Args, item: &Item, original: &Value, edited: &str) -> Outcome<Option<Value>> {
    let mut documents = files::yaml_documents(edited)
        .map_err(|why| Failure::plain(format!("The edited file had a syntax error: {why}")))?;
    let (Some(mut modified), true) = (documents.pop(), documents.is_empty()) else {
        return Err(Failure::plain("The edited file must hold one object"));
    };
    for field in ["apiVersion", "kind"] {
        if modified.get(field) != original.get(field) {
            return Err(Failure::plain(format!("{field} must not be changed")));
        }
    }
    if meta::name(&modified) != item.name {
        return Err(Failure::plain("the name of the object must not be changed"));
    }
    if args.save_config {
        modified = super::apply::with_notes(&modified);
    }
    let patch = diff::two_way(&item.resource.gvk(), original, &modified).map_err(Failure::Plain)?;
    if patch.is_empty() {
        return Ok(None);
    }
    let call = Call::patch(item.path(), patch.kind, patch.body.to_string());
    session.server.json(&call.query("fieldManager", &args.field_manager)).await.map(Some)
}

fn without_comments(text: &str) -> String {
    text.lines().skip_while(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

fn write(text: &str) -> Outcome<std::path::PathBuf> {
    let path =
        std::env::temp_dir().join(format!("backstay-edit-{}-{:08x}.yaml", std::process::id(), rand::random::<u32>()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::plain(format!("cannot write {}: {error}", path.display())))?;
    Ok(path)
}

/// The editor's text may carry arguments.
fn open(editor: &str, path: &std::path::Path) -> Outcome {
    let status = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(path).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::plain(format!("there was a problem with the editor {}", quoted(editor)))),
        Err(error) => Err(Failure::plain(format!("unable to launch the editor {}: {error}", quoted(editor)))),
    }
}
