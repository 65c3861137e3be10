//! `rollout pause` and `rollout resume`: say that it cannot be done.

use super::{check, for_each, resource_name};
use crate::error::{Failure, Outcome};
use crate::session::App;
use crate::target::TargetArgs;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    targets: TargetArgs,
}

pub async fn run(app: &App, args: Args, refusal: fn(&str, &str) -> String) -> Outcome {
    check(&args.targets)?;
    let session = app.connect().await?;
    for_each(&session, &args.targets, false, async |item| {
        Err(Failure::plain(refusal(&resource_name(item), &item.name)))
    })
    .await
}
