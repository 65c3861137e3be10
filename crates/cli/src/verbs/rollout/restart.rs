//! `rollout restart`.

use backstay_rollout::restart;
use jiff::Zoned;

use super::{check, for_each, resource_name};
use crate::error::{Failure, Outcome, quoted};
use crate::output::{DryRun, OutputArgs, Report};
use crate::server::{Call, STRATEGIC};
use crate::session::App;
use crate::target::TargetArgs;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    targets: TargetArgs,
    /// Under which name the change is noted in managedFields
    #[arg(long, value_name = "NAME", default_value = "kubectl-rollout", hide_short_help = true)]
    field_manager: String,
    #[command(flatten)]
    output: OutputArgs,
}

pub async fn run(app: &App, args: Args) -> Outcome {
    check(&args.targets)?;
    let report = Report::new(&args.output, DryRun::None)?;
    let session = app.connect().await?;
    for_each(&session, &args.targets, false, async |item| {
        let workloads = ["DaemonSet", "Deployment", "StatefulSet"];
        if item.resource.group != "apps" || !workloads.contains(&item.resource.kind.as_str()) {
            let (resource, name) = (resource_name(item), quoted(&item.name));
            return Err(Failure::plain(format!("{resource} {name} restarting is not supported")));
        }
        let patch = restart::patch(&item.object, &Zoned::now()).map_err(|error| Failure::plain(error.to_string()))?;
        let call = Call::patch(item.path(), STRATEGIC, patch.to_string());
        let object =
            session.server.json(&call.query("fieldManager", &args.field_manager)).await.map_err(|failure| {
                let why = failure.api().map_or_else(|| failure.to_string(), |error| error.message.clone());
                Failure::plain(format!("failed to patch: {why}"))
            })?;
        session.io.out(&report.text(&object, "restarted")?)
    })
    .await
}
