//! `rollout undo`.

use backstay_rollout::undo;

use super::{check, for_each, is_daemonset, number, revisions, with_usage};
use crate::error::{Failure, Outcome, quoted};
use crate::output::{DryRun, DryRunArg, OutputArgs, Report};
use crate::server::{Call, STRATEGIC};
use crate::session::{App, Session};
use crate::target::Item;
use crate::target::TargetArgs;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    targets: TargetArgs,
    /// The revision to go back to; 0 is the one before the newest
    #[arg(long, value_name = "N", default_value = "0", allow_hyphen_values = true, hide_default_value = true)]
    to_revision: String,
    #[command(flatten)]
    dry_run: DryRunArg,
    #[command(flatten)]
    output: OutputArgs,
}

pub async fn run(app: &App, args: Args) -> Outcome {
    let to_revision = number("to-revision", &args.to_revision).map_err(|failure| with_usage(app, "undo", failure))?;
    let dry_run = args.dry_run.mode(&app.io)?;
    check(&args.targets)?;
    let report = Report::new(&args.output, dry_run)?;
    let session = app.connect().await?;
    for_each(&session, &args.targets, true, async |item| {
        if let Some(warning) = undo::warning(&item.resource.plural, &item.object) {
            session.io.err_line(&warning);
        }
        if !is_daemonset(&item.resource) {
            let kind = quoted(&item.resource.kind);
            return Err(Failure::plain(format!("no rollbacker has been implemented for {kind}")));
        }
        let message = roll_back(&session, item, to_revision, dry_run).await?;
        session.io.out(&report.text(&item.object, &message)?)
    })
    .await
}

async fn roll_back(session: &Session, item: &Item, to_revision: i64, dry_run: DryRun) -> Outcome<String> {
    let plain = |error: undo::UndoError| Failure::plain(error.to_string());
    undo::check_number(to_revision).map_err(plain)?;
    let history = revisions(session, &item.object).await?;
    let target = undo::target(&history, to_revision).map_err(plain)?;
    if dry_run == DryRun::Client {
        return Ok(undo::preview(target));
    }
    if let Some(skipped) = undo::skipped(&item.object, target, to_revision) {
        return Ok(skipped);
    }
    let call = Call::patch(item.path(), STRATEGIC, target.data.as_bytes()).maybe("dryRun", dry_run.query());
    match session.server.bytes(&call).await {
        Ok(_) => Ok(undo::ROLLED_BACK.to_string()),
        Err(failure) => {
            let why = failure.api().map_or_else(|| failure.to_string(), |error| error.message.clone());
            Err(Failure::plain(format!("failed restoring revision {to_revision}: {why}")))
        }
    }
}
