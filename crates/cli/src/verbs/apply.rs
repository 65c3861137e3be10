//! `apply`: makes the server's objects what the files say, and leaves alone what others have set.

use backstay_api::canonical;
use backstay_api::meta::{self, LAST_APPLIED};
use serde_json::{Value, json};

use crate::diff;
use crate::discovery;
use crate::error::{Failure, Outcome, quoted};
use crate::files::FileArgs;
use crate::output::{DryRun, DryRunArg, OutputArgs, Report};
use crate::server::{APPLY, Call};
use crate::session::{App, Session};
use crate::target::{self, Item, Pick};

/// Make objects what files say
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    files: FileArgs,
    /// Label query that narrows down the objects of the files
    #[arg(short = 'l', long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    selector: String,
    /// Let the server merge; it keeps book of who owns which field
    #[arg(long)]
    server_side: bool,
    /// With --server-side: take over fields of others
    #[arg(long)]
    force_conflicts: bool,
    /// Under which name the change is noted in managedFields
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    field_manager: Option<String>,
    /// What to do about unknown fields: strict, warn or ignore
    #[arg(long, value_name = "MODE", default_value = "strict", num_args = 0..=1, require_equals = true,
          default_missing_value = "strict", hide_short_help = true)]
    validate: String,
    #[command(flatten)]
    dry_run: DryRunArg,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "Examples:
  # Create or change what a file describes
  backstay apply -f fluentd.yaml
  # All files of a directory, first only to see what would happen
  backstay apply -f manifests/ --dry-run=server
  # With ownership of fields kept by the server
  backstay apply --server-side -f fluentd.yaml";

/// The `fieldValidation` parameter of a `--validate` value.
pub fn validation(text: &str) -> Outcome<&'static str> {
    match text {
        "true" | "strict" => Ok("Strict"),
        "warn" => Ok("Warn"),
        "false" | "ignore" => Ok("Ignore"),
        other => Err(Failure::plain(format!(
            "invalid - validate option {}; must be one of: strict (or true), warn, ignore (or false)",
            quoted(other)
        ))),
    }
}

pub async fn run(app: &App, args: Args) -> Outcome {
    if args.files.is_empty() {
        return Err(Failure::plain("must specify one of -f and -k"));
    }
    let dry_run = args.dry_run.mode(&app.io)?;
    if args.server_side && dry_run == DryRun::Client {
        return Err(Failure::plain(
            "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)",
        ));
    }
    if args.force_conflicts && !args.server_side {
        return Err(Failure::plain("--force-conflicts only works with --server-side"));
    }
    let report = Report::new(&args.output, dry_run)?;
    let validation = validation(&args.validate)?;
    let session = app.connect().await?;
    let applier = Applier { session: &session, args: &args, dry_run, validation };
    let mut failures = Vec::new();
    let mut any = false;
    for pick in target::from_files(&session, &args.files).await? {
        let Some(item) = wanted(pick, &args.selector)? else { continue };
        any = true;
        match applier.apply(item).await {
            Ok((object, operation)) => session.io.out(&report.text(&object, operation)?)?,
            Err(failure) => failures.push(failure),
        }
    }
    if !any && failures.is_empty() {
        return Err(Failure::plain("no objects passed to apply"));
    }
    Failure::from_list(failures)
}

/// The object of a file as it is to be sent, if the selector wants it.
fn wanted(pick: Pick, selector: &str) -> Outcome<Option<Item>> {
    let Pick::InFile { resource, namespace, document } = pick else { return Ok(None) };
    let selector = backstay_api::selector::LabelSelector::parse(selector).map_err(Failure::Plain)?;
    if !selector.matches(&meta::labels(&document.object)) {
        return Ok(None);
    }
    let mut object = document.object;
    if let Some(namespace) = &namespace {
        meta::set_meta(&mut object, "namespace", namespace.as_str());
    }
    let name = meta::name(&object).to_string();
    if name.is_empty() {
        let text = match meta::str_at(&object, &["metadata", "generateName"]) {
            "" => "error: resource name may not be empty".to_string(),
            generated => format!("error: from {generated}: cannot use generate name with apply"),
        };
        return Err(Failure::Plain(text));
    }
    Ok(Some(Item { resource, namespace, name, object, source: Some(document.source) }))
}

struct Applier<'a> {
    session: &'a Session,
    args: &'a Args,
    dry_run: DryRun,
    validation: &'static str,
}

impl Applier<'_> {
    async fn apply(&self, item: Item) -> Outcome<(Value, &'static str)> {
        if self.args.server_side { self.on_server(item).await } else { self.on_client(item).await }
    }

    fn call(&self, call: Call, manager: &str) -> Call {
        call.maybe("dryRun", self.dry_run.query())
            .query("fieldManager", self.args.field_manager.as_deref().unwrap_or(manager))
            .query("fieldValidation", self.validation)
    }

    async fn on_server(&self, item: Item) -> Outcome<(Value, &'static str)> {
        let mut object = item.object.clone();
        meta::remove_meta(&mut object, "managedFields");
        let call = Call::patch(item.path(), APPLY, object.to_string());
        let call = self.call(call, "kubectl").query("force", self.args.force_conflicts.to_string());
        match self.session.server.json(&call).await {
            Ok(object) => Ok((object, "serverside-applied")),
            Err(failure) if failure.api().is_some_and(|error| error.reason == "Conflict") => {
                let message = failure.api().map(|error| error.message.clone()).unwrap_or_default();
                Err(Failure::Plain(format!("{message}\n{CONFLICT_HELP}")))
            }
            Err(failure) => Err(target::or_unknown(self.session, &item.resource, failure).await),
        }
    }

    async fn on_client(&self, item: Item) -> Outcome<(Value, &'static str)> {
        let source = item.source.clone().unwrap_or_default();
        let modified = with_notes(&item.object);
        let current = match self.session.get(&item.resource, item.namespace.as_deref(), &item.name).await {
            Ok(current) => current,
            Err(failure) if failure.is_not_found() && !failure.is_unknown_path() => {
                return self.create(&item, &modified, &source).await;
            }
            Err(failure) => {
                let failure = target::or_unknown(self.session, &item.resource, failure).await;
                let what = format!("retrieving current configuration of:\n{}\nfrom server for:", description(&item));
                return Err(failure.about(&what, &source));
            }
        };
        if meta::annotation(&current, LAST_APPLIED).is_none() {
            self.session.io.err_line(&format!(
                "Warning: resource {}/{} is missing the {LAST_APPLIED} annotation which is required by kubectl apply. \
                 kubectl apply should only be used on resources created declaratively by either kubectl create \
                 --save-config or kubectl apply. The missing annotation will be patched automatically.",
                item.resource.plural, item.name
            ));
        }
        self.change(&item, &modified, current, &source).await
    }

    async fn create(&self, item: &Item, modified: &Value, source: &str) -> Outcome<(Value, &'static str)> {
        if self.dry_run == DryRun::Client {
            return Ok((modified.clone(), "created"));
        }
        let path = discovery::collection_path(&item.resource, item.namespace.as_deref());
        let call = self.call(Call::post(path, modified), "kubectl-client-side-apply");
        let created = self.session.server.json(&call).await;
        created.map(|object| (object, "created")).map_err(|failure| failure.about("creating", source))
    }

    async fn change(
        &self,
        item: &Item,
        modified: &Value,
        current: Value,
        source: &str,
    ) -> Outcome<(Value, &'static str)> {
        let original = meta::annotation(&current, LAST_APPLIED).unwrap_or("{}");
        let original: Value = serde_json::from_str(original).unwrap_or_else(|_| json!({}));
        let patch = diff::three_way(&item.resource.gvk(), &original, modified, &current)
            .map_err(|why| Failure::plain(why).about("applying patch to", source))?;
        if patch.is_empty() {
            return Ok((current, "unchanged"));
        }
        if self.dry_run == DryRun::Client {
            return Ok((current, "configured"));
        }
        let body = canonical::json_text(&patch.body);
        let call = self.call(Call::patch(item.path(), patch.kind, body.clone()), "kubectl-client-side-apply");
        let changed = self.session.server.json(&call).await;
        changed.map(|object| (object, "configured")).map_err(|failure| {
            let what = format!("applying patch:\n{body}\nto:\n{}\nfor:", description(item));
            failure.about("patching", source).about(&what, source)
        })
    }
}

/// The object with a note of itself, so that the next apply knows what this one wanted.
pub fn with_notes(object: &Value) -> Value {
    let mut object = object.clone();
    let annotations = meta::map_mut(&mut object, &["metadata", "annotations"]);
    annotations.remove(LAST_APPLIED);
    let note = format!("{}\n", canonical::json_text(&object));
    meta::map_mut(&mut object, &["metadata", "annotations"]).insert(LAST_APPLIED.into(), note.into());
    object
}

fn description(item: &Item) -> String {
    let resource = &item.resource;
    let api_version = if resource.group.is_empty() { format!("/{}", resource.version) } else { resource.api_version() };
    format!(
        "Resource: \"{api_version}, Resource={}\", GroupVersionKind: \"{api_version}, Kind={}\"\nName: {}, Namespace: {}",
        resource.plural,
        resource.kind,
        quoted(&item.name),
        quoted(item.namespace.as_deref().unwrap_or("")),
    )
}

const CONFLICT_HELP: &str = "Please review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please edit your
  manifest to remove references to the fields that should keep their
  current managers.
* You may co-own fields by updating your manifest to match the existing
  value; in this case, you'll become the manager if the other manager(s)
  stop managing the field (remove it from their configuration).
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_is_the_object_without_it() {
        let object = json!({"kind": "X", "metadata": {"name": "a"}, "text": "<"});
        let noted = with_notes(&object);
        let note = "{\"kind\":\"X\",\"metadata\":{\"annotations\":{},\"name\":\"a\"},\"text\":\"\\u003c\"}\n";
        assert_eq!(meta::annotation(&noted, LAST_APPLIED), Some(note));
        assert_eq!(with_notes(&noted), noted);
    }
}
