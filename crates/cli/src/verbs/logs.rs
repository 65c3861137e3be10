//! `logs`: what containers have written.

use backstay_api::meta;
use backstay_api::selector::LabelSelector;
use futures::StreamExt;
use futures::stream::{self, LocalBoxStream};
use serde_json::Value;

use crate::duration;
use crate::error::{Failure, Outcome, quoted};
use crate::server::Call;
use crate::session::{App, Session};
use crate::target::{Item, Wanted};

/// Show what containers have written
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// POD, TYPE/NAME, or nothing with -l
    #[arg(value_name = "POD | TYPE/NAME")]
    target: Option<String>,
    /// Container, if it is not the one given with -c
    #[arg(value_name = "CONTAINER", hide = true)]
    container_word: Option<String>,
    /// Label query that chooses the pods
    #[arg(short = 'l', long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    selector: String,
    /// Container
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// All containers of the pods
    #[arg(long)]
    all_containers: bool,
    /// All pods of a DaemonSet or another owner of pods
    #[arg(long)]
    all_pods: bool,
    /// Go on as they write
    #[arg(short, long)]
    follow: bool,
    /// Of the instance before the last restart
    #[arg(short, long)]
    previous: bool,
    /// Only the last lines; -1 shows all, which is the default without -l
    #[arg(long, value_name = "LINES", allow_hyphen_values = true)]
    tail: Option<i64>,
    /// Only what is younger, as in --since=5m
    #[arg(long, value_name = "DURATION")]
    since: Option<String>,
    /// Only what came after, as in --since-time=2026-01-02T03:04:05Z
    #[arg(long, value_name = "TIME")]
    since_time: Option<String>,
    /// With the time of each line
    #[arg(long)]
    timestamps: bool,
    /// At most so many bytes
    #[arg(long, value_name = "BYTES")]
    limit_bytes: Option<u64>,
    /// In front of each line: pod and container
    #[arg(long)]
    prefix: bool,
    /// How many may be followed at a time
    #[arg(long, value_name = "N", default_value_t = 5)]
    max_log_requests: usize,
    /// Go on with other pods after a failure
    #[arg(long)]
    ignore_errors: bool,
}

const EXAMPLES: &str = "Examples:
  # The pod's only container, as it writes
  backstay logs -f fluentd-x7k2p
  # The last lines before it crashed
  backstay logs fluentd-x7k2p --previous --tail=20
  # Of all pods of a DaemonSet, with their names
  backstay logs ds/fluentd --all-pods --prefix --tail=5";

/// The container that logs come from unless another is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

pub async fn run(app: &App, mut args: Args) -> Outcome {
    if args.container.is_none() {
        args.container = args.container_word.take();
    }
    if args.since.is_some() && args.since_time.is_some() {
        return Err(Failure::plain("at most one of `sinceTime` or `since` may be specified"));
    }
    let session = app.connect().await?;
    let pods = pods(&session, &args).await?;
    let mut sources = Vec::new();
    for pod in &pods {
        for container in containers(&session, &args, pod)? {
            sources.push(Source { call: call(&args, pod, &container)?, label: label(&args, pod, &container) });
        }
    }
    if args.follow && sources.len() > args.max_log_requests {
        return Err(Failure::plain(format!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use \
             --max-log-requests to increase the limit",
            sources.len(),
            args.max_log_requests
        )));
    }
    if args.follow { follow(&session, &args, sources).await } else { one_by_one(&session, &args, sources).await }
}

struct Source {
    call: Call,
    /// In front of each line.
    label: String,
}

async fn pods(session: &Session, args: &Args) -> Outcome<Vec<Value>> {
    if !args.selector.is_empty() {
        if args.target.is_some() {
            return Err(Failure::plain("only a selector (-l) or a POD name is allowed"));
        }
        let pods = of_selector(session, &session.namespace, &args.selector).await?;
        if pods.is_empty() {
            session.io.err_line(&format!("No resources found in {} namespace.", session.namespace));
        }
        return Ok(pods);
    }
    let Some(target) = &args.target else {
        return Err(Failure::plain(
            "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command",
        ));
    };
    pods_of(session, target, args.all_pods).await
}

/// The one pod that a word means: its name, or one of the pods of an owner.
pub(super) async fn one_pod(session: &Session, target: &str) -> Outcome<Value> {
    let pods = pods_of(session, target, false).await?;
    pods.into_iter().next().ok_or_else(|| Failure::plain(format!("no pod found for {target}")))
}

async fn pods_of(session: &Session, target: &str, all: bool) -> Outcome<Vec<Value>> {
    let word = if target.contains('/') { target.to_string() } else { format!("pods/{target}") };
    let words = [word];
    let (items, failures) = Wanted { words: &words, ..Wanted::default() }.items(session).await?;
    if let Some(failure) = failures.into_iter().next() {
        return Err(not_found(session, failure));
    }
    let Some(item) = items.into_iter().next() else { return Ok(Vec::new()) };
    if item.resource.kind == "Pod" {
        return Ok(vec![item.object]);
    }
    of_owner(session, all, &item).await
}

/// Says where something was looked for in vain.
fn not_found(session: &Session, failure: Failure) -> Failure {
    match failure.api().filter(|_| failure.is_not_found() && !failure.is_unknown_path()) {
        Some(error) => Failure::plain(format!(
            "error from server (NotFound): {} in namespace {}",
            error.message,
            quoted(&session.namespace)
        )),
        None => failure,
    }
}

/// The pods that an owner's selector finds: all of them, or the one that is ready the longest.
async fn of_owner(session: &Session, all: bool, item: &Item) -> Outcome<Vec<Value>> {
    let selector = meta::value_at(&item.object, &["spec", "selector"]).ok_or_else(|| {
        Failure::plain(format!("cannot get the logs from {}: unable to extract pod template", item.resource.kind))
    })?;
    let selector = LabelSelector::from_object(selector).map_err(Failure::Plain)?.to_string();
    let namespace = item.namespace.as_deref().unwrap_or(&session.namespace);
    let mut pods = of_selector(session, namespace, &selector).await?;
    if pods.is_empty() {
        return Err(Failure::plain("timed out waiting for the condition"));
    }
    if !all && pods.len() > 1 {
        let is_running = |pod: &Value| meta::str_at(pod, &["status", "phase"]) == "Running";
        pods.sort_by_key(|pod| (!is_running(pod), meta::str_at(pod, &["metadata", "creationTimestamp"]).to_string()));
        session.io.err_line(&format!("Found {} pods, using pod/{}", pods.len(), meta::name(&pods[0])));
        pods.truncate(1);
    }
    Ok(pods)
}

async fn of_selector(session: &Session, namespace: &str, selector: &str) -> Outcome<Vec<Value>> {
    let call = Call::get(format!("/api/v1/namespaces/{namespace}/pods")).query("labelSelector", selector);
    let list = session.server.list(&call).await?;
    Ok(meta::list_at(&list, &["items"]).to_vec())
}

fn containers(session: &Session, args: &Args, pod: &Value) -> Outcome<Vec<String>> {
    if args.all_containers {
        return Ok(names(pod, "initContainers").into_iter().chain(names(pod, "containers")).collect());
    }
    Ok(one_container(session, pod, args.container.as_deref(), false)?.into_iter().collect())
}

/// The container that is meant: the one that is named, or else the one that the pod prefers, or its first. `quiet`: it is
/// not told which. None only of a pod without containers.
pub(super) fn one_container(
    session: &Session,
    pod: &Value,
    wanted: Option<&str>,
    quiet: bool,
) -> Outcome<Option<String>> {
    let (inits, main) = (names(pod, "initContainers"), names(pod, "containers"));
    if let Some(wanted) = wanted {
        let ephemeral = names(pod, "ephemeralContainers");
        if inits.iter().chain(&main).chain(&ephemeral).any(|name| name == wanted) {
            return Ok(Some(wanted.to_string()));
        }
        return Err(Failure::plain(format!("container {wanted} is not valid for pod {}", meta::name(pod))));
    }
    let preferred = meta::annotation(pod, DEFAULT_CONTAINER).filter(|name| main.iter().any(|main| main == name));
    let Some(first) = preferred.or(main.first().map(String::as_str)) else { return Ok(None) };
    if main.len() + inits.len() > 1 && preferred.is_none() && !quiet {
        let inits = inits.iter().map(|name| format!("{name} (init)"));
        let all: Vec<String> = main.iter().cloned().chain(inits).collect();
        session.io.err_line(&format!("Defaulted container {} out of: {}", quoted(first), all.join(", ")));
    }
    Ok(Some(first.to_string()))
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let containers = meta::list_at(pod, &["spec", list]).iter();
    containers.map(|container| meta::str_at(container, &["name"]).to_string()).collect()
}

fn call(args: &Args, pod: &Value, container: &str) -> Outcome<Call> {
    let namespace = meta::namespace(pod).unwrap_or("default");
    let flag = |set: bool| if set { "true" } else { "" };
    let tail = args.tail.unwrap_or(if args.selector.is_empty() { -1 } else { 10 });
    let tail = if tail < 0 { String::new() } else { tail.to_string() };
    let since = match &args.since {
        None => String::new(),
        Some(text) => {
            let since = duration::parse(text).map_err(|why| {
                Failure::plain(format!("invalid argument {} for \"--since\" flag: {why}", quoted(text)))
            })?;
            (since.as_secs() + u64::from(since.subsec_nanos() > 0)).to_string()
        }
    };
    Ok(Call::get(format!("/api/v1/namespaces/{namespace}/pods/{}/log", meta::name(pod)))
        .accept("*/*")
        .query("container", container)
        .maybe("follow", flag(args.follow))
        .maybe("limitBytes", &args.limit_bytes.map(|bytes| bytes.to_string()).unwrap_or_default())
        .maybe("previous", flag(args.previous))
        .maybe("sinceSeconds", &since)
        .maybe("sinceTime", args.since_time.as_deref().unwrap_or(""))
        .maybe("tailLines", &tail)
        .maybe("timestamps", flag(args.timestamps)))
}

fn label(args: &Args, pod: &Value, container: &str) -> String {
    if args.prefix { format!("[pod/{}/{container}] ", meta::name(pod)) } else { String::new() }
}

async fn one_by_one(session: &Session, args: &Args, sources: Vec<Source>) -> Outcome {
    for source in sources {
        let shown = async {
            let mut lines = lines(session, source).await?;
            while let Some(line) = lines.next().await {
                session.io.out_bytes(&line?)?;
            }
            Outcome::Ok(())
        };
        match shown.await {
            Err(failure) if args.ignore_errors => session.io.err_line(&failure.to_string()),
            shown => shown?,
        }
    }
    Ok(())
}

async fn follow(session: &Session, args: &Args, sources: Vec<Source>) -> Outcome {
    let mut streams = Vec::new();
    for source in sources {
        match lines(session, source).await {
            Err(failure) if args.ignore_errors => session.io.err_line(&failure.to_string()),
            lines => streams.push(lines?),
        }
    }
    let mut all = stream::select_all(streams);
    while let Some(line) = all.next().await {
        match line {
            Err(failure) if args.ignore_errors => session.io.err_line(&failure.to_string()),
            line => session.io.out_bytes(&line?)?,
        }
    }
    Ok(())
}

/// Lines with their breaks, and with the label in front. Without a label, chunks as they come.
async fn lines(session: &Session, source: Source) -> Outcome<LocalBoxStream<'static, Outcome<Vec<u8>>>> {
    let chunks = session.server.stream(&source.call).await?;
    if source.label.is_empty() {
        return Ok(chunks.map(|chunk| chunk.map(|bytes| bytes.to_vec())).boxed_local());
    }
    let state = (chunks, Vec::new(), source.label);
    let lines = stream::unfold(state, |(mut chunks, mut rest, label)| async move {
        loop {
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let line = [label.as_bytes(), &line].concat();
                return Some((Ok(line), (chunks, rest, label)));
            }
            match chunks.next().await {
                Some(Ok(chunk)) => rest.extend_from_slice(&chunk),
                Some(Err(failure)) => return Some((Err(failure), (chunks, rest, label))),
                None if rest.is_empty() => return None,
                None => {
                    let line = [label.as_bytes(), &std::mem::take(&mut rest)].concat();
                    return Some((Ok(line), (chunks, rest, label)));
                }
            }
        }
    });
    Ok(lines.boxed_local())
}
