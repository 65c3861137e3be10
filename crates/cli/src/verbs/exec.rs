//! `exec` and `attach`: a command in a container, or the container's own.

use backstay_api::meta;
use backstay_streams::remote::Wanted;
use serde_json::Value;

use super::logs;
use crate::connect;
use crate::error::{Failure, Outcome};
use crate::server::Call;
use crate::session::{App, Session};

/// Run a command in a container
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXEC_EXAMPLES)]
pub struct ExecArgs {
    /// POD, or TYPE/NAME for one of its pods
    #[arg(value_name = "POD | TYPE/NAME")]
    target: Option<String>,
    /// The command, after --
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    #[command(flatten)]
    streams: Streams,
}

/// Attach to the command of a container that runs
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = ATTACH_EXAMPLES)]
pub struct AttachArgs {
    /// POD, or TYPE/NAME for one of its pods
    #[arg(value_name = "POD | TYPE/NAME")]
    target: Option<String>,
    #[command(flatten)]
    streams: Streams,
}

#[derive(Clone, Debug, clap::Args)]
struct Streams {
    /// Container; the first one, if none is named
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Standard input is a terminal
    #[arg(short = 't', long)]
    tty: bool,
    /// Only what the command prints
    #[arg(short, long)]
    quiet: bool,
}

const EXEC_EXAMPLES: &str = "Examples:
  # One command in the pod's first container
  backstay exec fluentd-x7k2p -- date
  # A shell on a terminal, in a pod of the DaemonSet
  backstay exec -it ds/fluentd -c main -- sh";

const ATTACH_EXAMPLES: &str = "Examples:
  # See what it prints from now on
  backstay attach fluentd-x7k2p
  # And type to it
  backstay attach -it console";

pub async fn exec(app: &App, args: ExecArgs) -> Outcome {
    let Some(target) = &args.target else {
        return Err(Failure::plain("pod or type/name must be specified"));
    };
    if args.command.is_empty() {
        return Err(Failure::plain("you must specify at least one command for the container"));
    }
    let session = app.connect().await?;
    let pod = logs::one_pod(&session, target).await?;
    refuse_completed(&pod, "exec into")?;
    let container = container(&session, &args.streams, &pod)?;
    let wanted = wanted(&session, &args.streams);
    let call = call(&pod, "exec", &container, wanted);
    let call = args.command.iter().fold(call, |call, word| call.query("command", word));
    connect::remote_command(&session, &call, wanted).await
}

pub async fn attach(app: &App, args: AttachArgs) -> Outcome {
    let Some(target) = &args.target else {
        return Err(Failure::plain("at least 1 argument is required for attach"));
    };
    let session = app.connect().await?;
    let pod = logs::one_pod(&session, target).await?;
    refuse_completed(&pod, "attach")?;
    let container = container(&session, &args.streams, &pod)?;
    let mut wanted = wanted(&session, &args.streams);
    let spec =
        meta::list_at(&pod, &["spec", "containers"]).iter().find(|one| meta::str_at(one, &["name"]) == container);
    let has_terminal = spec.is_some_and(|spec| spec.get("tty") == Some(&Value::Bool(true)));
    if wanted.tty && !has_terminal {
        let container = &container;
        session.io.err_line(&format!("error: Unable to use a TTY - container {container} did not allocate one"));
    }
    wanted.tty &= has_terminal;
    wanted.stderr = !has_terminal;
    if wanted.tty && !args.streams.quiet {
        session.io.err_line("If you don't see a command prompt, try pressing enter.");
    }
    connect::remote_command(&session, &call(&pod, "attach", &container, wanted), wanted).await
}

fn refuse_completed(pod: &Value, what: &str) -> Outcome {
    match meta::str_at(pod, &["status", "phase"]) {
        phase @ ("Succeeded" | "Failed") => {
            Err(Failure::plain(format!("cannot {what} a container in a completed pod; current phase is {phase}")))
        }
        _ => Ok(()),
    }
}

fn container(session: &Session, streams: &Streams, pod: &Value) -> Outcome<String> {
    let container = logs::one_container(session, pod, streams.container.as_deref(), streams.quiet)?;
    container.ok_or_else(|| Failure::plain(format!("pod {} has no containers", meta::name(pod))))
}

fn wanted(session: &Session, streams: &Streams) -> Wanted {
    let mut wanted = Wanted { stdin: streams.stdin, stdout: true, stderr: true, tty: streams.tty && streams.stdin };
    if wanted.tty && !connect::has_terminal() {
        session.io.err_line("Unable to use a TTY - input is not a terminal or the right kind of file");
        wanted.tty = false;
    }
    // A terminal has one output.
    wanted.stderr = !wanted.tty;
    wanted
}

fn call(pod: &Value, what: &str, container: &str, wanted: Wanted) -> Call {
    let flag = |set: bool| if set { "true" } else { "" };
    let namespace = meta::namespace(pod).unwrap_or("default");
    Call::get(format!("/api/v1/namespaces/{namespace}/pods/{}/{what}", meta::name(pod)))
        .accept("*/*")
        .query("container", container)
        .maybe("stdin", flag(wanted.stdin))
        .maybe("stdout", flag(wanted.stdout))
        .maybe("stderr", flag(wanted.stderr))
        .maybe("tty", flag(wanted.tty))
}
