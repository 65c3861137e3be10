//! Leader election: of several managers, only the one that holds the Lease works.
//!
//! As in `client-go`: whoever finds the Lease expired takes it; the holder renews it, and stops working well before
//! others may take it. Clocks of different machines are not compared: a Lease has expired once it has not changed for
//! its duration as watched from here.

use std::time::Duration;

use backstay_api::time::micros;
use backstay_api::{Clock, Entropy};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{Api, ApiError, LEASES, chain};

/// Which Lease, and who we are.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    pub namespace: String,
    pub name: String,
    /// Unique among all managers, also after a restart.
    pub identity: String,
    /// After this without renewal others may take over.
    pub duration: Duration,
    /// After this without renewal the holder stops. Less than `duration`.
    pub renew_deadline: Duration,
    /// How often to try.
    pub retry: Duration,
}

impl LeaseConfig {
    /// The times that kube-controller-manager has by default: 15 s, 10 s, 2 s.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// One candidate for a Lease.
pub struct Candidate {
    api: Api,
    clock: Clock,
    entropy: Entropy,
    config: LeaseConfig,
    /// The state of the Lease that was seen last, and since when it has been the same.
    seen: Option<(Value, Instant)>,
    /// When the request was sent that took or renewed the Lease. Others count from when it was written; the answer may
    /// have come long after.
    renewed: Instant,
}

impl Candidate {
    pub fn new(api: Api, clock: Clock, entropy: Entropy, config: LeaseConfig) -> Self {
        Self { api, clock, entropy, config, seen: None, renewed: Instant::now() }
    }

    /// Returns once we have taken the Lease; [`Candidate::hold`] says whether we hold it still.
    pub async fn acquire(&mut self) {
        loop {
            match self.try_once().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(lease = %self.config.name, error = %chain(&error), "cannot take the lease")
                }
            }
            self.pause().await;
        }
    }

    /// Renews the Lease; returns once it is lost, or could not be renewed for too long.
    pub async fn hold(&mut self) {
        while self.renewed.elapsed() < self.config.renew_deadline {
            tokio::time::sleep(self.config.retry).await;
            let left = self.config.renew_deadline.saturating_sub(self.renewed.elapsed());
            match tokio::time::timeout(left, self.try_once()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) if !self.holds() => return,
                // Written by somebody, but not taken, as far as is known.
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(lease = %self.config.name, error = %chain(&error), "cannot renew the lease");
                }
                Err(_) => return,
            }
        }
    }

    /// Gives the Lease up, so that the next one need not wait.
    pub async fn release(&mut self) {
        if !self.holds() {
            return;
        }
        if let Err(error) = self.give_up().await {
            tracing::debug!(lease = %self.config.name, error = %chain(&error), "lease not given up");
        }
    }

    /// Looks once more: a renewal may have been written whose answer nobody waited for.
    async fn give_up(&mut self) -> Result<(), ApiError> {
        let lease = serde_json::from_slice(&self.api.get(&self.path()).await?)?;
        let (mut lease, _) = self.seen.insert((lease, Instant::now())).clone();
        if !self.holds() {
            return Ok(());
        }
        lease["spec"]["holderIdentity"] = json!("");
        lease["spec"]["leaseDurationSeconds"] = json!(1);
        lease["spec"]["renewTime"] = json!(micros(self.clock.now()));
        self.seen = None;
        self.api.put(&self.path(), lease.to_string()).await.map(drop)
    }

    /// Whether the Lease was ours when it was last seen.
    fn holds(&self) -> bool {
        self.seen.as_ref().is_some_and(|(lease, _)| lease["spec"]["holderIdentity"] == self.config.identity.as_str())
    }

    /// Takes or renews the Lease, if it is ours or nobody's.
    async fn try_once(&mut self) -> Result<bool, ApiError> {
        let lease = match self.api.get(&self.path()).await {
            Ok(body) => serde_json::from_slice::<Value>(&body)?,
            Err(error) if error.is_not_found() => return self.create().await,
            Err(error) => return Err(error),
        };
        if !self.may_take(&lease) {
            return Ok(false);
        }
        let begun = Instant::now();
        let written = self.api.put(&self.path(), self.claimed(lease).to_string()).await;
        self.written(written, begun)
    }

    async fn create(&mut self) -> Result<bool, ApiError> {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": self.config.name, "namespace": self.config.namespace },
        });
        let path = LEASES.in_namespace(&self.config.namespace);
        let begun = Instant::now();
        let written = self.api.post(&path, self.claimed(lease).to_string()).await;
        self.written(written, begun)
    }

    fn written(&mut self, written: Result<bytes::Bytes, ApiError>, begun: Instant) -> Result<bool, ApiError> {
        match written {
            Ok(body) => {
                self.renewed = begun;
                self.seen = Some((serde_json::from_slice(&body)?, Instant::now()));
                Ok(true)
            }
            // Somebody was quicker.
            Err(error) if error.is_conflict() || error.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ours, given up, or unchanged for its whole duration.
    fn may_take(&mut self, lease: &Value) -> bool {
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or("");
        if holder.is_empty() || holder == self.config.identity {
            return true;
        }
        let duration = lease["spec"]["leaseDurationSeconds"].as_u64().map_or(self.config.duration, Duration::from_secs);
        match &self.seen {
            Some((seen, since)) if seen["spec"] == lease["spec"] => since.elapsed() >= duration,
            _ => {
                self.seen = Some((lease.clone(), Instant::now()));
                false
            }
        }
    }

    fn claimed(&self, mut lease: Value) -> Value {
        let now = json!(micros(self.clock.now()));
        let spec = &mut lease["spec"];
        if spec["holderIdentity"] != self.config.identity.as_str() {
            let transitions = spec["leaseTransitions"].as_i64();
            spec["leaseTransitions"] = json!(transitions.map_or(0, |transitions| transitions + 1));
            spec["acquireTime"] = now.clone();
        }
        spec["holderIdentity"] = json!(self.config.identity);
        spec["leaseDurationSeconds"] = json!(self.config.duration.as_secs());
        spec["renewTime"] = now;
        lease
    }

    fn path(&self) -> String {
        LEASES.object(&self.config.namespace, &self.config.name)
    }

    async fn pause(&self) {
        tokio::time::sleep(self.config.retry.mul_f64(1.0 + 0.2 * self.entropy.fraction())).await;
    }
}

/// Does something whenever we hold the Lease, until it is done, or `shutdown`; stops it when the Lease is lost, and begins
/// anew when it is ours again.
pub async fn while_leading<W: Future<Output = ()>>(
    client: kube::Client,
    clock: Clock,
    entropy: Entropy,
    config: LeaseConfig,
    work: impl Fn() -> W,
    shutdown: impl Future<Output = ()>,
) {
    let mut candidate = Candidate::new(Api::new(client, crate::FIELD_MANAGER), clock, entropy, config);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = candidate.acquire() => {}
        }
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = candidate.hold() => {}
            () = work() => break,
        }
    }
    candidate.release().await;
}
