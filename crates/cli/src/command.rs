//! All verbs, as one set of subcommands.

use std::sync::OnceLock;

use clap::{ArgAction, ArgMatches, FromArgMatches, Subcommand};

use crate::error::Outcome;
use crate::session::App;
use crate::verbs::rollout::Rollout;
use crate::verbs::set::Set;
use crate::verbs::*;

/// The verbs, to be flattened into the subcommands of the binary.
#[derive(Clone, Debug)]
pub struct Command(Verb);

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// History, undo, status and restart of DaemonSets
    #[command(subcommand, arg_required_else_help = true)]
    Rollout(Rollout),
    Get(get::Args),
    Describe(describe::Args),
    Apply(apply::Args),
    Diff(diff::Args),
    Create(create::Args),
    Edit(edit::Args),
    Patch(patch::Args),
    /// Change images and environments of containers
    #[command(subcommand, arg_required_else_help = true)]
    Set(Set),
    /// Set and remove annotations
    Annotate(metadata::Args),
    /// Set and remove labels
    Label(metadata::Args),
    Delete(delete::Args),
    #[command(visible_alias = "log")]
    Logs(logs::Args),
    Exec(exec::ExecArgs),
    Attach(exec::AttachArgs),
    PortForward(port_forward::Args),
    /// Tokens by which machines join
    #[command(subcommand, arg_required_else_help = true)]
    Token(token::Token),
    Wait(wait::Args),
    Events(events::Args),
    ApiResources(api_resources::Args),
    Version(version::Args),
    Completion(completion::Args),
}

static ROOT: OnceLock<fn() -> clap::Command> = OnceLock::new();

impl Command {
    /// Tells the whole command of the program, for `completion`.
    pub fn set_root(root: fn() -> clap::Command) {
        let _ = ROOT.set(root);
    }
}

impl Subcommand for Command {
    fn augment_subcommands(command: clap::Command) -> clap::Command {
        Verb::augment_subcommands(command).mut_subcommands(with_values_for_switches)
    }

    fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        Verb::has_subcommand(name)
    }
}

impl FromArgMatches for Command {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Verb::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// As with kubectl, every switch also takes a value: `--all=true`, `--watch=false`.
fn with_values_for_switches(command: clap::Command) -> clap::Command {
    let command = command.mut_subcommands(with_values_for_switches);
    command.mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue if !["help", "version"].contains(&arg.get_id().as_str()) => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .value_parser(clap::value_parser!(bool))
            .default_value("false")
            .default_missing_value("true")
            .hide_default_value(true)
            .hide_possible_values(true)
            .value_name(""),
        _ => arg,
    })
}

pub async fn dispatch(app: &App, command: Command) -> Outcome {
    match command.0 {
        Verb::Rollout(verb) => rollout::run(app, verb).await,
        Verb::Get(args) => get::run(app, args).await,
        Verb::Describe(args) => describe::run(app, args).await,
        Verb::Apply(args) => apply::run(app, args).await,
        Verb::Diff(args) => diff::run(app, args).await,
        Verb::Create(args) => create::run(app, args).await,
        Verb::Edit(args) => edit::run(app, args).await,
        Verb::Patch(args) => patch::run(app, args).await,
        Verb::Set(verb) => set::run(app, verb).await,
        Verb::Annotate(args) => metadata::run(app, metadata::Kind::Annotations, args).await,
        Verb::Label(args) => metadata::run(app, metadata::Kind::Labels, args).await,
        Verb::Delete(args) => delete::run(app, args).await,
        Verb::Logs(args) => logs::run(app, args).await,
        Verb::Exec(args) => exec::exec(app, args).await,
        Verb::Attach(args) => exec::attach(app, args).await,
        Verb::PortForward(args) => port_forward::run(app, args).await,
        Verb::Token(verb) => token::run(app, verb).await,
        Verb::Wait(args) => wait::run(app, args).await,
        Verb::Events(args) => events::run(app, args).await,
        Verb::ApiResources(args) => api_resources::run(app, args).await,
        Verb::Version(args) => version::run(app, args).await,
        Verb::Completion(args) => completion::run(app, &args, root()),
    }
}

fn root() -> clap::Command {
    match ROOT.get() {
        Some(root) => root(),
        None => Command::augment_subcommands(clap::Command::new("backstay")),
    }
}
