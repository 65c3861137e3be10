//! `completion`: what a shell needs to complete our commands.

use clap_complete::Shell;

use crate::error::Outcome;
use crate::session::App;

/// Print completions for a shell
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// bash, zsh, fish...
    shell: Shell,
}

const EXAMPLES: &str = "Examples:
  # bash: now, or for good in ~/.bashrc
  source <(backstay completion bash)
  # zsh
  backstay completion zsh > \"${fpath[1]}/_backstay\"
  # fish
  backstay completion fish > ~/.config/fish/completions/backstay.fish";

pub fn run(app: &App, args: &Args, mut root: clap::Command) -> Outcome {
    let mut script = Vec::new();
    let name = root.get_name().to_string();
    clap_complete::generate(args.shell, &mut root, name, &mut script);
    app.io.out_bytes(&script)
}
