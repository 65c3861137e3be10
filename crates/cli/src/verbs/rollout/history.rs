//! `rollout history`.

use backstay_rollout::history;

use super::{check, for_each, is_daemonset, number, revisions, with_usage};
use crate::error::{Failure, Outcome, quoted};
use crate::output::{self, OutputArgs};
use crate::session::App;
use crate::target::TargetArgs;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    targets: TargetArgs,
    /// Show the template of this revision
    #[arg(long, value_name = "N", default_value = "0", allow_hyphen_values = true, hide_default_value = true)]
    revision: String,
    #[command(flatten)]
    output: OutputArgs,
}

pub async fn run(app: &App, args: Args) -> Outcome {
    let revision = number("revision", &args.revision).map_err(|failure| with_usage(app, "history", failure))?;
    check(&args.targets)?;
    history::check_number(revision).map_err(|error| Failure::plain(error.to_string()))?;
    let format = args.output.format(false)?;
    let session = app.connect().await?;
    let mut first = true;
    for_each(&session, &args.targets, true, async |item| {
        if !is_daemonset(&item.resource) {
            let kind = quoted(&item.resource.kind);
            return Err(Failure::plain(format!("no history viewer has been implemented for {kind}")));
        }
        let history = revisions(&session, &item.object).await?;
        let Some(format) = &format else {
            let view = history::view(&history, revision).map_err(|error| Failure::plain(error.to_string()))?;
            return session.io.out(&format!("{} {view}\n", output::name(&item.object)));
        };
        let objects = history::objects(&item.object, &history, revision);
        for object in objects.map_err(|error| Failure::plain(error.to_string()))? {
            session.io.out(&format.object(&object, first, args.output.show_managed_fields)?)?;
            first = false;
        }
        Ok(())
    })
    .await
}
