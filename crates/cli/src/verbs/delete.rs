//! `delete`: takes objects away, and by default waits until they are gone.

use std::time::Duration;

use backstay_api::meta;
use serde_json::{Value, json};

use crate::discovery;
use crate::duration;
use crate::error::{Failure, Outcome, quoted};
use crate::output::{DryRun, DryRunArg};
use crate::server::Call;
use crate::session::{App, Session};
use crate::target::{self, Item, ManyArgs, Pick, Wanted};
use crate::watch::Watch;

/// Delete objects
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    target: ManyArgs,
    /// What becomes of what belongs to the object: background, foreground (first), orphan (stays)
    #[arg(long, value_name = "MODE", default_value = "background", num_args = 0..=1, require_equals = true,
          default_missing_value = "background")]
    cascade: String,
    /// Seconds that pods get to stop; -1 leaves it to them
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_hyphen_values = true, hide_default_value = true)]
    grace_period: i64,
    /// Give pods one second only
    #[arg(long)]
    now: bool,
    /// With --grace-period=0: do not wait for the node
    #[arg(long)]
    force: bool,
    /// --wait=false returns at once
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    wait: bool,
    /// How long to wait at most; 0 is as long as it takes
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true)]
    timeout: String,
    /// What is not there is no error
    #[arg(long)]
    ignore_not_found: bool,
    #[command(flatten)]
    dry_run: DryRunArg,
    /// name: print only TYPE/NAME
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

const EXAMPLES: &str = "Examples:
  # What a file describes
  backstay delete -f fluentd.yaml
  # A DaemonSet, but not its pods: a new one with the same selector takes them over
  backstay delete ds/fluentd --cascade=orphan
  # All pods with a label, without waiting
  backstay delete pods -l app=fluentd --wait=false";

pub async fn run(app: &App, args: Args) -> Outcome {
    let plan = Plan::of(app, &args)?;
    let session = app.connect().await?;
    let wanted = args.target.wanted();
    if plan.immediate {
        app.io.err_line(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. \
             The resource may continue to run on the cluster indefinitely.",
        );
    }
    let (items, mut failures) = found(&session, &wanted).await?;
    let mut deleted = Vec::new();
    for item in &items {
        match delete(&session, &args, &plan, item).await {
            Ok(Some(object)) => deleted.push((item, object)),
            Ok(None) => {}
            Err(failure) => failures.push(failure),
        }
    }
    failures.retain(|failure| !(args.ignore_not_found && failure.is_not_found()));
    if items.is_empty() && failures.is_empty() && !args.ignore_not_found {
        app.io.out("No resources found\n")?;
    }
    if args.wait && plan.dry_run == DryRun::None {
        for (item, object) in deleted {
            failures.extend(plan.limited(gone(&session, item, &object)).await.err());
        }
    }
    Failure::from_list(failures)
}

struct Plan {
    dry_run: DryRun,
    policy: &'static str,
    grace_seconds: Option<i64>,
    immediate: bool,
    timeout: Duration,
}

impl Plan {
    fn of(app: &App, args: &Args) -> Outcome<Self> {
        let policy = match args.cascade.as_str() {
            "background" | "true" => "Background",
            "foreground" => "Foreground",
            "orphan" | "false" => "Orphan",
            other => {
                return Err(Failure::plain(format!(
                    "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
                )));
            }
        };
        if args.now && args.grace_period != -1 {
            return Err(Failure::plain("--now and --grace-period cannot be specified together"));
        }
        if let Some(output) = args.output.as_deref().filter(|output| !["", "name"].contains(output)) {
            return Err(Failure::plain(format!("unexpected -o output mode: {output}. We only support '-o name'")));
        }
        let grace = match (args.now, args.grace_period) {
            (true, _) => Some(1),
            (false, 0) if !args.force => Some(1),
            (false, -1) if args.force => Some(0),
            (false, -1) => None,
            (false, seconds) => Some(seconds),
        };
        if args.force && grace.is_some_and(|seconds| seconds > 0) {
            return Err(Failure::plain("--force and --grace-period greater than 0 cannot be specified together"));
        }
        Ok(Self {
            dry_run: args.dry_run.mode(&app.io)?,
            policy,
            grace_seconds: grace,
            immediate: args.force && grace == Some(0),
            timeout: duration::parse(&args.timeout).map_err(|why| {
                Failure::plain(format!("invalid argument {} for \"--timeout\" flag: {why}", quoted(&args.timeout)))
            })?,
        })
    }

    fn body(&self) -> Value {
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": self.policy});
        if let Some(seconds) = self.grace_seconds {
            body["gracePeriodSeconds"] = seconds.into();
        }
        if self.dry_run == DryRun::Server {
            body["dryRun"] = json!(["All"]);
        }
        body
    }

    async fn limited(&self, wait: impl Future<Output = Outcome>) -> Outcome {
        if self.timeout.is_zero() {
            return wait.await;
        }
        let waited = tokio::time::timeout(self.timeout, wait).await;
        waited.unwrap_or_else(|_| Err(Failure::plain("timed out waiting for the condition")))
    }
}

/// Names are deleted unseen; types with a selector are listed first.
async fn found(session: &Session, wanted: &Wanted<'_>) -> Outcome<(Vec<Item>, Vec<Failure>)> {
    let (mut items, mut failures) = (Vec::new(), Vec::new());
    for pick in wanted.picks(session).await? {
        match pick {
            Pick::Named { resource, namespace, name } => {
                items.push(Item { resource, namespace, name, object: Value::Null, source: None });
            }
            Pick::InFile { resource, namespace, document } => {
                let name = meta::name(&document.object).to_string();
                items.push(Item { resource, namespace, name, object: Value::Null, source: Some(document.source) });
            }
            listed => match wanted.fetch(session, listed).await {
                Ok(found) => items.extend(found),
                Err(failure) => failures.push(failure),
            },
        }
    }
    Ok((items, failures))
}

/// The answer: the object where it is still there, a Status where it is gone.
async fn delete(session: &Session, args: &Args, plan: &Plan, item: &Item) -> Outcome<Option<Value>> {
    if plan.dry_run == DryRun::Client {
        session.io.out(&message(args, plan, item))?;
        return Ok(None);
    }
    match session.server.json(&Call::delete(item.path(), &plan.body())).await {
        Ok(answer) => {
            session.io.out(&message(args, plan, item))?;
            Ok(Some(answer))
        }
        Err(failure) => {
            let failure = target::or_unknown(session, &item.resource, failure).await;
            Err(match &item.source {
                Some(source) => failure.about("deleting", source),
                None => failure,
            })
        }
    }
}

fn message(args: &Args, plan: &Plan, item: &Item) -> String {
    let kind = discovery::kind_name(&item.resource);
    if args.output.as_deref() == Some("name") {
        return format!("{kind}/{}\n", item.name);
    }
    let operation = if plan.immediate { "force deleted" } else { "deleted" };
    let place = item.namespace.as_ref().map(|namespace| format!(" from {namespace} namespace")).unwrap_or_default();
    let suffix = match plan.dry_run {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    };
    format!("{kind} {} {operation}{place}{suffix}\n", quoted(&item.name))
}

/// Waits until this very object is gone; another of the same name does not count.
pub async fn gone(session: &Session, item: &Item, answer: &Value) -> Outcome {
    let uid = match meta::uid(answer) {
        "" => meta::str_at(answer, &["details", "uid"]).to_string(),
        uid => uid.to_string(),
    };
    loop {
        let object = match session.get(&item.resource, item.namespace.as_deref(), &item.name).await {
            Ok(object) => object,
            Err(failure) if failure.is_not_found() => return Ok(()),
            Err(failure) => return Err(failure),
        };
        if !uid.is_empty() && meta::uid(&object) != uid {
            return Ok(());
        }
        let path = discovery::collection_path(&item.resource, item.namespace.as_deref());
        let call = Call::get(path).query("fieldSelector", format!("metadata.name={}", item.name));
        let mut watch = Watch::start(&session.server, call, meta::resource_version(&object)).await?;
        while let Some(event) = watch.next().await? {
            if event.kind == "DELETED" {
                return Ok(());
            }
        }
    }
}
