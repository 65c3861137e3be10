//! As much as the server can do, then twice as much from one busy client, while nodes renew their leases.
//!
//! One turn finds the rate: so many requests in flight that the server is never idle. The next sends twice that rate,
//! whatever comes back; and so on, since a machine is faster at one time than at another. The server has a processor of
//! its own, and most requests are lists which cost it much and the client little: else the client would be what twice
//! the rate is too much for.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};

use crate::client::{Connection, connections};
use crate::figure::{print, rounded};
use crate::objects::{CONFIG_MAPS, LEASES, create_all, lease, renewal};
use crate::server::Server;

/// In flight while the rate is found: enough for full batches of commits.
const IN_FLIGHT: usize = 256;
/// Whoever waits for more answers than this waits for some to come first.
const WAITING_MAX: usize = 12_000;
/// How long a turn is at most.
const TURN: Duration = Duration::from_secs(4);
/// Connections of the busy client.
const CONNECTIONS: usize = 16;
/// Between two renewals of one node.
const RENEWED_EVERY: Duration = Duration::from_secs(10);
/// Every so often one asks whether the server is alive.
const HEALTH_EVERY: Duration = Duration::from_millis(200);
/// Enough that those who write at once write different ones.
const MAPS: usize = 5_000;
/// Which a list selects one of.
const GROUPS: usize = 500;

/// What is asked for.
const KINDS: [&str; 3] = ["patch", "get", "list"];
/// In which order, again and again.
const MIX: [usize; 4] = [0, 1, 2, 2];

/// What became of requests.
#[derive(Default)]
struct Outcomes {
    /// By kind: see [`KINDS`].
    served: [AtomicUsize; KINDS.len()],
    refused: AtomicUsize,
    /// Refused without saying when to come back.
    without_retry_after: AtomicUsize,
    failed: AtomicUsize,
}

impl Outcomes {
    fn served(&self) -> usize {
        self.served.iter().map(|served| served.load(Ordering::Relaxed)).sum()
    }

    fn each(&self) -> Value {
        KINDS.iter().zip(&self.served).map(|(kind, served)| (*kind, served.load(Ordering::Relaxed))).collect()
    }
}

/// What has been seen of one load in all of its turns.
#[derive(Default)]
struct Load {
    outcomes: Arc<Outcomes>,
    seconds: f64,
    /// Requests that were sent, where nobody waits for answers.
    sent: usize,
    cpu: f64,
    leases: Times,
    health: Times,
}

pub async fn measure(program: &Path, nodes: usize, lasts: Duration) -> Result<()> {
    let server = Server::start(program, &[]).await?;
    let mut admin = server.target.connect(&server.target.tls("h2")?).await?;
    create_all(&admin, CONFIG_MAPS, (0..MAPS).map(one_of_a_group)).await?;
    create_all(&admin, LEASES, (0..nodes).map(|number| lease(&node(number)))).await?;
    let busy = somebody(&mut admin, &server).await?;
    let memory_before = server.memory()?;
    let is_apart = server.set_apart()?;

    let turns = lasts.as_secs().div_ceil(TURN.as_secs()).max(1) as u32;
    let turn = lasts / turns;
    let (mut once, mut twice) = (Load::default(), Load::default());
    for _ in 0..turns {
        let served_before = once.outcomes.served();
        let outcomes = once.outcomes.clone();
        once.turn(&server, nodes, turn, async || saturate(&busy, &outcomes, turn).await).await?;
        let rate = (once.outcomes.served() - served_before) as f64 / turn.as_secs_f64();
        let (outcomes, waiting) = (twice.outcomes.clone(), Arc::new(Semaphore::new(WAITING_MAX)));
        let offer = async || Ok(offer(&busy, &outcomes, rate * 2.0, turn, &waiting).await);
        twice.sent += twice.turn(&server, nodes, turn, offer).await?;
        // What has not been answered is not to be in the way of others.
        let _all = waiting.acquire_many(WAITING_MAX as u32).await?;
    }

    let (once_rate, twice_rate) = (once.served_per_second(), twice.served_per_second());
    let refused = &twice.outcomes;
    let measured = json!({
        "served_per_second": rounded(once_rate),
        "offered_per_second_at_twice": rounded(twice.sent as f64 / twice.seconds),
        "served_per_cpu_second": once.served_per_cpu_second(),
        "served_per_cpu_second_at_twice": twice.served_per_cpu_second(),
        "served_per_second_at_twice": rounded(twice_rate), "kept": rounded(twice_rate / once_rate),
        "served_of_each": once.outcomes.each(), "served_of_each_at_twice": twice.outcomes.each(),
        "refused_at_twice": refused.refused.load(Ordering::Relaxed),
        "refused_without_retry_after": refused.without_retry_after.load(Ordering::Relaxed),
        "failed_at_twice": refused.failed.load(Ordering::Relaxed),
        "server_has_its_own_processor": is_apart, "nodes": nodes, "turns": turns,
        "signs": once.signs(), "signs_at_twice": twice.signs(),
        "memory_before": memory_before, "memory_peak": server.memory_peak()?,
    });
    print("overload", measured);
    server.stop().await
}

impl Load {
    /// One turn of so long, while nodes renew their leases.
    async fn turn<T>(
        &mut self,
        server: &Server,
        nodes: usize,
        lasts: Duration,
        load: impl AsyncFnOnce() -> Result<T>,
    ) -> Result<T> {
        let signs = Signs::watch(server, nodes).await?;
        let cpu_before = server.cpu()?;
        let done = load().await?;
        self.cpu += server.cpu()? - cpu_before;
        self.seconds += lasts.as_secs_f64();
        signs.end(&mut self.leases, &mut self.health).await;
        Ok(done)
    }

    fn served_per_second(&self) -> f64 {
        self.outcomes.served() as f64 / self.seconds
    }

    fn served_per_cpu_second(&self) -> f64 {
        rounded(self.outcomes.served() as f64 / self.cpu)
    }

    fn signs(&self) -> Value {
        json!({ "leases": self.leases.told(), "health": self.health.told() })
    }
}

/// Connections of a service account that may do everything: not the administrator who stands for the nodes here.
async fn somebody(admin: &mut Connection, server: &Server) -> Result<Vec<Connection>> {
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    admin.create(accounts, json!({ "metadata": { "name": "busy" } }).to_string()).await?;
    let binding = json!({
        "metadata": { "name": "busy" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "ServiceAccount", "name": "busy", "namespace": "default" }],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    admin.create(bindings, binding.to_string()).await?;
    let answer = admin.create(&format!("{accounts}/busy/token"), json!({ "spec": {} }).to_string()).await?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let token = answer["status"]["token"].as_str().context("no token")?;
    let connections = connections(&server.target.anonymous(), CONNECTIONS, 1).await?;
    Ok(connections.iter().map(|connection| connection.with_token(token)).collect())
}

/// Keeps so many requests in flight.
async fn saturate(busy: &[Connection], outcomes: &Arc<Outcomes>, lasts: Duration) -> Result<()> {
    let end = Instant::now() + lasts;
    let workers = (0..IN_FLIGHT).map(|worker| {
        let (mut connection, outcomes) = (busy[worker % busy.len()].clone(), outcomes.clone());
        tokio::spawn(async move {
            let mut number = worker;
            while Instant::now() < end {
                ask(&mut connection, number, &outcomes, end).await;
                // Not the same kind again: the mix would be what is served soonest.
                number += IN_FLIGHT + 1;
            }
        })
    });
    futures::future::try_join_all(workers).await?;
    Ok(())
}

/// Sends at a rate, whatever comes back, and tells how many requests that were.
async fn offer(
    busy: &[Connection],
    outcomes: &Arc<Outcomes>,
    rate: f64,
    lasts: Duration,
    waiting: &Arc<Semaphore>,
) -> usize {
    let begun = Instant::now();
    let end = begun + lasts;
    let (mut number, mut sent) = (0, 0);
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while ticks.tick().await < end {
        let due = (begun.elapsed().as_secs_f64() * rate) as usize;
        for number in number..due {
            let Ok(permit) = waiting.clone().try_acquire_owned() else { break };
            let (mut connection, outcomes) = (busy[number % busy.len()].clone(), outcomes.clone());
            sent += 1;
            tokio::spawn(async move {
                ask(&mut connection, number, &outcomes, end).await;
                drop(permit);
            });
        }
        number = due;
    }
    sent
}

/// One request of a mix: one in four writes, two list what a label selects. Counted if it ends in time.
async fn ask(connection: &mut Connection, number: usize, outcomes: &Outcomes, end: Instant) {
    let path = format!("{CONFIG_MAPS}/{}", map(number / MIX.len() % MAPS));
    let kind = MIX[number % MIX.len()];
    let answer = async {
        let answer = match KINDS[kind] {
            "patch" => {
                let body = json!({ "data": { "number": number.to_string() } }).to_string();
                connection.ask(Method::PATCH, &path, "application/merge-patch+json", body).await?
            }
            "get" => connection.ask(Method::GET, &path, "", String::new()).await?,
            _ => {
                let path = format!("{CONFIG_MAPS}?labelSelector=group%3D{}", number % GROUPS);
                connection.ask(Method::GET, &path, "", String::new()).await?
            }
        };
        let (status, can_retry) = (answer.status(), answer.headers().contains_key(header::RETRY_AFTER));
        answer.into_body().collect().await?;
        anyhow::Ok((status, can_retry))
    };
    let answer = answer.await;
    if Instant::now() > end {
        return;
    }
    let count = match answer {
        Ok((status, _)) if status.is_success() => &outcomes.served[kind],
        Ok((StatusCode::TOO_MANY_REQUESTS, can_retry)) => {
            outcomes.without_retry_after.fetch_add(usize::from(!can_retry), Ordering::Relaxed);
            &outcomes.refused
        }
        _ => &outcomes.failed,
    };
    count.fetch_add(1, Ordering::Relaxed);
}

/// The signs of life that the load must not drown: leases renewed, health asked for.
struct Signs {
    leases: tokio::task::JoinHandle<Times>,
    health: tokio::task::JoinHandle<Times>,
    stop: tokio::sync::watch::Sender<bool>,
}

#[derive(Default)]
struct Times {
    milliseconds: Vec<f64>,
    failed: usize,
}

impl Signs {
    async fn watch(server: &Server, nodes: usize) -> Result<Self> {
        let tls = server.target.tls("h2")?;
        let (leases, health) = (server.target.connect(&tls).await?, server.target.connect(&tls).await?);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let renewals = every(RENEWED_EVERY / nodes.max(1) as u32, stopped.clone(), move |number| {
            let mut connection = leases.clone();
            async move {
                let path = format!("{LEASES}/{}", node(number % nodes));
                connection.merge(&path, renewal(number)).await.map(drop)
            }
        });
        let asking = every(HEALTH_EVERY, stopped, move |_| {
            let mut connection = health.clone();
            async move { connection.get("/readyz").await.map(drop) }
        });
        Ok(Self { leases: tokio::spawn(renewals), health: tokio::spawn(asking), stop })
    }

    async fn end(self, leases: &mut Times, health: &mut Times) {
        // Both have a receiver until they end.
        let _ = self.stop.send(true);
        leases.add(self.leases.await.unwrap_or_default());
        health.add(self.health.await.unwrap_or_default());
    }
}

impl Times {
    fn add(&mut self, more: Self) {
        self.milliseconds.extend(more.milliseconds);
        self.failed += more.failed;
    }

    fn told(&self) -> Value {
        let mut milliseconds = self.milliseconds.clone();
        milliseconds.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = milliseconds.len().saturating_sub(1);
            milliseconds.get((last as f64 * share) as usize).copied().map(rounded)
        };
        json!({
            "done": milliseconds.len(), "failed": self.failed,
            "milliseconds_median": at(0.5), "milliseconds_99": at(0.99), "milliseconds_longest": at(1.0),
        })
    }
}

/// Starts one task after the other, and waits for all of them in the end.
async fn every<F>(
    pause: Duration,
    mut stopped: tokio::sync::watch::Receiver<bool>,
    task: impl Fn(usize) -> F + Send,
) -> Times
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut running, mut number) = (tokio::task::JoinSet::new(), 0);
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            _ = ticks.tick() => {}
        }
        let (work, begun) = (task(number), Instant::now());
        running.spawn(async move { work.await.map(|()| begun.elapsed().as_secs_f64() * 1e3) });
        number += 1;
    }
    let mut times = Times::default();
    while let Some(done) = running.join_next().await {
        match done {
            Ok(Ok(milliseconds)) => times.milliseconds.push(milliseconds),
            _ => times.failed += 1,
        }
    }
    times
}

fn one_of_a_group(number: usize) -> String {
    let metadata = json!({ "name": map(number), "labels": { "group": (number % GROUPS).to_string() } });
    json!({ "metadata": metadata, "data": { "text": "x".repeat(1_600) } }).to_string()
}

fn map(number: usize) -> String {
    format!("map-{number:04}")
}

fn node(number: usize) -> String {
    format!("node-{number:05}")
}
