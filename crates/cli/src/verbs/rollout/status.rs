//! `rollout status`.

use std::time::Duration;

use backstay_api::meta;
use backstay_rollout::status;
use serde_json::Value;

use super::{for_each, is_daemonset, number, with_usage};
use crate::discovery;
use crate::duration;
use crate::error::{Failure, Outcome, quoted};
use crate::server::Call;
use crate::session::{App, Session};
use crate::target::Item;
use crate::target::TargetArgs;
use crate::watch::Watch;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    targets: TargetArgs,
    /// Wait for the end; --watch=false only looks
    #[arg(short, long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    watch: bool,
    /// Of no use for DaemonSets, which have only their newest rollout
    #[arg(long, value_name = "N", default_value = "0", allow_hyphen_values = true, hide = true)]
    revision: String,
    /// How long to wait at most, such as 90s or 5m; 0 waits for ever
    #[arg(long, value_name = "DURATION", default_value = "0s", allow_hyphen_values = true, hide_default_value = true)]
    timeout: String,
}

pub async fn run(app: &App, args: Args) -> Outcome {
    let usage = |failure| with_usage(app, "status", failure);
    let revision = number("revision", &args.revision).map_err(usage)?;
    let timeout = duration::parse(&args.timeout).map_err(|why| {
        usage(Failure::plain(format!("invalid argument {} for \"--timeout\" flag: {why}", quoted(&args.timeout))))
    })?;
    if args.targets.words.is_empty() && args.targets.files.is_empty() {
        return Err(Failure::plain("required resource not specified"));
    }
    if revision < 0 {
        return Err(Failure::plain(format!("revision must be a positive integer: {revision}")));
    }
    let session = app.connect().await?;
    for_each(&session, &args.targets, false, async |item| {
        if !is_daemonset(&item.resource) {
            let kind = &item.resource.kind;
            return Err(Failure::plain(format!("no status viewer has been implemented for {kind}")));
        }
        if !args.watch {
            return say(&session, &item.object).map(|_| ());
        }
        wait(&session, item, timeout).await
    })
    .await
}

async fn wait(session: &Session, item: &Item, timeout: Duration) -> Outcome {
    let wait = until_done(session, item);
    if timeout.is_zero() {
        return wait.await;
    }
    let timed_out = || Failure::plain("timed out waiting for the condition");
    tokio::time::timeout(timeout, wait).await.unwrap_or_else(|_| Err(timed_out()))
}

/// Follows the object from its present state on. A watch that ends is taken up again where it was.
async fn until_done(session: &Session, item: &Item) -> Outcome {
    let path = discovery::collection_path(&item.resource, item.namespace.as_deref());
    let call = Call::get(path).query("fieldSelector", format!("metadata.name={}", item.name));
    loop {
        let list = session.server.json(&call.clone().query("limit", "500").query("resourceVersion", "0")).await?;
        let Some(object) = meta::list_at(&list, &["items"]).first() else {
            return Err(Failure::plain("object has been deleted"));
        };
        if say(session, object)? {
            return Ok(());
        }
        let mut version = meta::resource_version(&list).to_string();
        while follow(session, &call, &mut version).await? {
            if version.is_empty() {
                return Ok(());
            }
        }
    }
}

/// One watch, until it ends. `version` moves along, and is empty once the rollout is done. False: list again.
async fn follow(session: &Session, call: &Call, version: &mut String) -> Outcome<bool> {
    let call = call.clone().query("allowWatchBookmarks", "true");
    let mut watch = match Watch::start(&session.server, call, version).await {
        Err(failure) if is_expired(&failure) => return Ok(false),
        watch => watch?,
    };
    loop {
        let event = match watch.next().await {
            Err(failure) if is_expired(&failure) => return Ok(false),
            event => event?,
        };
        let Some(event) = event else { return Ok(true) };
        *version = meta::resource_version(&event.object).to_string();
        match event.kind.as_str() {
            "BOOKMARK" => {}
            "DELETED" => return Err(Failure::plain("object has been deleted")),
            _ if say(session, &event.object)? => {
                version.clear();
                return Ok(true);
            }
            _ => {}
        }
    }
}

fn is_expired(failure: &Failure) -> bool {
    failure.api().is_some_and(|error| error.code == 410)
}

/// Prints the line for this state. True: nothing is left to wait for.
fn say(session: &Session, daemonset: &Value) -> Outcome<bool> {
    let progress = status::progress(daemonset).map_err(|error| Failure::plain(error.to_string()))?;
    session.io.out(&progress.line)?;
    Ok(progress.done)
}
