//! `wait`: until objects are as they should be, or gone.

use std::time::Duration;

use backstay_api::json_path::Template;
use backstay_api::meta;
use serde_json::Value;

use crate::discovery;
use crate::duration;
use crate::error::{Failure, Outcome, quoted};
use crate::output::{DryRun, OutputArgs, Report};
use crate::server::Call;
use crate::session::{App, Session};
use crate::target::{self, Item, ManyArgs, Wanted};
use crate::watch::Watch;

/// Wait until objects are as they should be, or gone
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    target: ManyArgs,
    /// condition=NAME[=VALUE], jsonpath='{PATH}'[=VALUE], delete or create
    #[arg(long = "for", value_name = "WHAT", default_value = "", hide_default_value = true)]
    condition: String,
    /// How long to wait for each object; 0 only looks, negative is a week
    #[arg(long, value_name = "DURATION", default_value = "30s", allow_hyphen_values = true)]
    timeout: String,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "Examples:
  # Until a pod is ready
  backstay wait --for=condition=Ready pod/fluentd-x7k2p
  # Until every node runs one
  backstay wait ds/fluentd --for=jsonpath='{.status.numberReady}'=3 --timeout=5m
  # Until it is gone
  backstay wait --for=delete ds/fluentd";

/// What to wait for.
#[derive(Debug)]
enum Until {
    Deleted,
    Created,
    Condition { name: String, value: String },
    Path { template: Template, value: Option<String> },
}

impl Until {
    fn parse(text: &str) -> Outcome<Self> {
        if text.eq_ignore_ascii_case("delete") {
            return Ok(Self::Deleted);
        }
        if text.eq_ignore_ascii_case("create") {
            return Ok(Self::Created);
        }
        if let Some(condition) = text.strip_prefix("condition=") {
            let (name, value) = condition.split_once('=').unwrap_or((condition, "true"));
            return Ok(Self::Condition { name: name.to_lowercase(), value: value.to_lowercase() });
        }
        if let Some(path) = text.strip_prefix("jsonpath=") {
            let (path, value) = match path.rfind("}=").map(|at| at + 1).or_else(|| path.find('=')) {
                Some(at) => (&path[..at], Some(path[at + 1..].to_string())),
                None => (path, None),
            };
            let unquoted = |text: &str| text.trim_matches(['\'', '"']).to_string();
            if value.as_ref().is_some_and(String::is_empty) {
                return Err(Failure::plain("jsonpath wait value cannot be empty"));
            }
            let template = Template::relaxed(&unquoted(path)).map_err(Failure::Plain)?;
            return Ok(Self::Path { template, value: value.as_deref().map(unquoted) });
        }
        Err(Failure::plain(format!("unrecognized condition: {}", quoted(text))))
    }

    /// Whether this state of the object is it.
    fn holds(&self, object: &Value) -> Outcome<bool> {
        match self {
            Self::Deleted => Ok(false),
            Self::Created => Ok(true),
            Self::Condition { name, value } => Ok(condition_holds(object, name, value)),
            Self::Path { template, value } => {
                let found = template.find(object).map_err(Failure::Plain)?;
                Ok(match (&found[..], value) {
                    ([], _) => false,
                    (_, None) => true,
                    ([one], Some(value)) => backstay_rollout::go::plain(one) == *value,
                    (several, Some(value)) => several.iter().all(|one| backstay_rollout::go::plain(one) == *value),
                })
            }
        }
    }
}

/// A condition that speaks of an older state of the object does not count.
fn condition_holds(object: &Value, name: &str, value: &str) -> bool {
    meta::list_at(object, &["status", "conditions"]).iter().any(|condition| {
        let current = meta::int_at(condition, &["observedGeneration"])
            .or_else(|| meta::int_at(object, &["status", "observedGeneration"]))
            .is_none_or(|observed| observed >= meta::generation(object));
        meta::str_at(condition, &["type"]).to_lowercase() == name
            && meta::str_at(condition, &["status"]).to_lowercase() == value
            && current
    })
}

pub async fn run(app: &App, args: Args) -> Outcome {
    let until = Until::parse(&args.condition)?;
    let negative = args.timeout.starts_with('-');
    let timeout = duration::parse(&args.timeout).map_err(|why| {
        Failure::plain(format!("invalid argument {} for \"--timeout\" flag: {why}", quoted(&args.timeout)))
    })?;
    let timeout = if negative { Duration::from_secs(7 * 24 * 3600) } else { timeout };
    let report = Report::new(&args.output, DryRun::None)?;
    let session = app.connect().await?;
    let wanted = args.target.wanted();
    if matches!(until, Until::Created) {
        return created(&session, &wanted, timeout, &report).await;
    }
    let (items, mut failures) = wanted.items(&session).await?;
    if matches!(until, Until::Deleted) {
        failures.retain(|failure| !failure.is_not_found());
        if items.is_empty() {
            return Failure::from_list(failures);
        }
    }
    if items.is_empty() && failures.is_empty() {
        return Err(Failure::plain("no matching resources found"));
    }
    for item in &items {
        match wait(&session, item, &until, timeout).await {
            Ok(object) => {
                let words = if matches!(until, Until::Deleted) { "deleted" } else { "condition met" };
                session.io.out(&report.text(&object, words)?)?;
            }
            Err(failure) => failures.push(failure),
        }
    }
    Failure::from_list(failures)
}

async fn wait(session: &Session, item: &Item, until: &Until, timeout: Duration) -> Outcome<Value> {
    let timed_out = || {
        let plural = &item.resource.plural;
        Failure::plain(format!("timed out waiting for the condition on {plural}/{}", item.name))
    };
    if timeout.is_zero() {
        return match until.holds(&item.object)? {
            true => Ok(item.object.clone()),
            false if matches!(until, Until::Deleted | Until::Path { .. }) => {
                let plural = &item.resource.plural;
                Err(Failure::plain(format!("condition not met for {plural}/{}", item.name)))
            }
            false => Err(timed_out()),
        };
    }
    let waiting = follow(session, item, until);
    tokio::time::timeout(timeout, waiting).await.unwrap_or_else(|_| Err(timed_out()))
}

async fn follow(session: &Session, item: &Item, until: &Until) -> Outcome<Value> {
    if matches!(until, Until::Deleted) {
        super::delete::gone(session, item, &item.object).await?;
        return Ok(item.object.clone());
    }
    let path = discovery::collection_path(&item.resource, item.namespace.as_deref());
    let call = Call::get(path).query("fieldSelector", format!("metadata.name={}", item.name));
    loop {
        let list = session.server.json(&call).await?;
        let object = match target::items_of(&list, &item.resource).pop() {
            Some(object) => object,
            // Says that there is none.
            None => session.get(&item.resource, item.namespace.as_deref(), &item.name).await?,
        };
        if until.holds(&object)? {
            return Ok(object);
        }
        // From the list on: changes since the object's own version may have been forgotten long ago.
        let mut watch = Watch::start(&session.server, call.clone(), meta::resource_version(&list)).await?;
        while let Some(event) = watch.next().await? {
            match event.kind.as_str() {
                "DELETED" => {
                    let resource = discovery::resource_name(&item.resource);
                    return Err(Failure::plain(format!("{resource} {} not found", quoted(&item.name))));
                }
                "BOOKMARK" => {}
                _ if until.holds(&event.object)? => return Ok(event.object),
                _ => {}
            }
        }
    }
}

/// Looks again and again: what does not exist yet cannot be watched by its version.
async fn created(session: &Session, wanted: &Wanted<'_>, timeout: Duration, report: &Report) -> Outcome {
    let looking = async {
        loop {
            let (items, failures) = wanted.items(session).await?;
            let failures: Vec<Failure> = failures.into_iter().filter(|failure| !failure.is_not_found()).collect();
            Failure::from_list(failures)?;
            if !items.is_empty() {
                return Ok(items);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let timed_out = || Err(Failure::plain("timed out waiting for the condition"));
    let items = tokio::time::timeout(timeout, looking).await.unwrap_or_else(|_| timed_out())?;
    items.iter().try_for_each(|item| session.io.out(&report.text(&item.object, "condition met")?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(condition: &str, object: Value, expected: bool) {
        assert_eq!(Until::parse(condition).unwrap().holds(&object).unwrap(), expected);
    }

    #[test]
    fn conditions_hold_or_not() {
        let ready = json!({"metadata": {"generation": 2}, "status": {
            "observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True"}]}});
        check("condition=Ready", ready.clone(), true);
        check("condition=ready=false", ready.clone(), false);
        let mut stale = ready;
        stale["status"]["observedGeneration"] = json!(1);
        check("condition=Ready", stale, false);
        let counted = json!({"status": {"numberReady": 3, "phase": "Running"}});
        check("jsonpath={.status.numberReady}=3", counted.clone(), true);
        check("jsonpath=.status.phase=Running", counted.clone(), true);
        check("jsonpath='{.status.phase}'=Pending", counted.clone(), false);
        check("jsonpath={.status.other}", counted.clone(), false);
        check("jsonpath={.status.phase}", counted, true);
        assert_eq!(Until::parse("nonsense").unwrap_err().to_string(), "error: unrecognized condition: \"nonsense\"");
    }
}
