//! Drives requests for certificates: nodes that may join are let in, others are told that they may not, what is approved is signed, what is old goes. Also
//! clears away joining tokens whose time is over.
//!
//! Requests are few: when one changes all are read, and nothing is kept of them in between.

use std::sync::Arc;
use std::time::Duration;

use backstay_api::meta;
use backstay_api::time::{seconds, until};
use backstay_controllers::certificates::{Asked, NODE_CLIENT, Plan, Request, Rights, Step, plan};
use backstay_controllers::garbage::Partial;
use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{ApiError, CERTIFICATE_REQUESTS, NODES, Resource, SECRETS, chain};
use crate::at;
use crate::context::Context;
use crate::inform::Feed;

const RETRY: Duration = Duration::from_secs(5);
/// Tokens are looked at this often, too.
const TOKENS_EVERY: Duration = Duration::from_secs(60);
const ACCESS_REVIEWS: Resource = Resource::of("/apis/authorization.k8s.io/v1", "subjectaccessreviews");

/// Whoever signs.
pub trait Authority: Send + Sync + 'static {
    /// What stands in a request, PEM.
    ///
    /// # Errors
    /// Why it cannot be read, or was not made by who holds its key.
    fn read(&self, request: &[u8]) -> Result<Asked, String>;

    /// A certificate for it, PEM: valid for so long, for a client or a server.
    ///
    /// # Errors
    /// Why it cannot be made.
    fn sign(&self, request: &[u8], seconds: i64, usages: &[String], now: Timestamp) -> Result<String, String>;

    /// Until when a certificate is valid, PEM.
    fn expires(&self, certificate: &[u8]) -> Option<Timestamp>;
}

/// Runs until it is told to stop.
pub async fn run(context: Context, authority: Arc<dyn Authority>, mut requests: Feed<Partial>) {
    let driver = Driver { context, authority };
    let mut tokens = tokio::time::interval(TOKENS_EVERY);
    // When to look although nothing happens.
    let mut look_at: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            () = driver.context.shutdown.cancelled() => return,
            Some(_) = requests.recv() => {}
            _ = tokens.tick() => {
                if let Err(error) = driver.clear_tokens().await {
                    tracing::warn!(error = %chain(&error), "old joining tokens not cleared away; will try again");
                }
                continue;
            }
            () = at(look_at) => {}
        }
        let next = match driver.look().await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "requests for certificates not looked at; will retry");
                Some(RETRY)
            }
        };
        look_at = next.and_then(|pause| Instant::now().checked_add(pause));
    }
}

struct Driver {
    context: Context,
    authority: Arc<dyn Authority>,
}

impl Driver {
    /// Looks at every request. Returns how long until one must be looked at again although nothing happens.
    async fn look(&self) -> Result<Option<Duration>, ApiError> {
        let mut next: Option<Timestamp> = None;
        let mut retry = None;
        for object in self.context.api.items::<Value>(&CERTIFICATE_REQUESTS.all()).await? {
            match self.look_at(&object).await {
                Ok(recheck_at) => next = next.into_iter().chain(recheck_at).min(),
                // The others need not wait for it.
                Err(error) => {
                    let (request, error) = (meta::name(&object), chain(&error));
                    tracing::warn!(request, %error, "a request for a certificate not dealt with; will retry");
                    retry = Some(RETRY);
                }
            }
        }
        let now = self.context.clock.now();
        let next = next.map(|at| until(at, now).max(Duration::from_secs(1)));
        Ok(next.into_iter().chain(retry).min())
    }

    /// Looks at one request. Returns when to look again.
    async fn look_at(&self, object: &Value) -> Result<Option<Timestamp>, ApiError> {
        let request = Request::read(object);
        let asked = self.authority.read(&request.body);
        let rights = match &asked {
            Ok(asked) if request.is_open() && request.signer == NODE_CLIENT => self.rights(object, asked).await?,
            _ => Rights::default(),
        };
        let expires = self.authority.expires(&request.certificate);
        let now = self.context.clock.now();
        let Plan { step, waits, recheck_at } =
            plan(&request, asked.as_ref().map_err(String::as_str), rights, expires, now);
        if let Some(waits) = waits {
            tracing::info!(request = request.name, waits, "a request for a certificate waits");
        }
        if let Some(step) = step {
            self.carry_out(object, &request, step, now).await?;
        }
        Ok(recheck_at)
    }

    async fn rights(&self, object: &Value, asked: &Asked) -> Result<Rights, ApiError> {
        Ok(Rights {
            node_client: self.may(object, "nodeclient").await?,
            self_node_client: self.may(object, "selfnodeclient").await?,
            node_is_alive: self.is_alive(asked.common_name.trim_start_matches("system:node:")).await?,
        })
    }

    async fn may(&self, object: &Value, subresource: &str) -> Result<bool, ApiError> {
        let spec = &object["spec"];
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": spec["username"], "uid": spec["uid"], "groups": spec["groups"], "extra": spec["extra"],
                "resourceAttributes": {
                    "group": "certificates.k8s.io", "resource": "certificatesigningrequests", "verb": "create",
                    "subresource": subresource, "version": "*",
                },
            },
        });
        let answer = self.context.api.post(&ACCESS_REVIEWS.all(), review.to_string()).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        Ok(answer["status"]["allowed"] == true)
    }

    async fn is_alive(&self, node: &str) -> Result<bool, ApiError> {
        let node: Value = match self.context.api.get(&NODES.object("", node)).await {
            Ok(body) => serde_json::from_slice(&body)?,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(meta::is_true(&node, "Ready"))
    }

    async fn carry_out(&self, object: &Value, request: &Request, step: Step, now: Timestamp) -> Result<(), ApiError> {
        let path = CERTIFICATE_REQUESTS.object("", &request.name);
        let result = match step {
            Step::Approve { message } => {
                tracing::info!(request = request.name, username = request.username, "a node may join");
                let changed = with_condition(object, "Approved", "AutoApproved", message, now);
                self.context.api.put(&format!("{path}/approval"), changed.to_string()).await
            }
            Step::Deny { reason, message } => {
                tracing::warn!(request = request.name, username = request.username, message, "a node may not join");
                let changed = with_condition(object, "Denied", reason, &message, now);
                self.context.api.put(&format!("{path}/approval"), changed.to_string()).await
            }
            Step::Sign { seconds } => match self.authority.sign(&request.body, seconds, &request.usages, now) {
                Ok(certificate) => {
                    let mut changed = object.clone();
                    let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
                    changed["status"]["certificate"] = encoded.into();
                    self.context.api.put(&format!("{path}/status"), changed.to_string()).await
                }
                Err(message) => self.fail(&path, object, &message, now).await,
            },
            Step::Fail { message } => self.fail(&path, object, &message, now).await,
            Step::Delete => {
                let options = json!({ "preconditions": { "uid": request.uid } });
                self.context.api.delete(&path, &options).await
            }
        };
        match result {
            Err(error) if error.is_overtaken() => Ok(()),
            done => done.map(drop),
        }
    }

    async fn fail(&self, path: &str, object: &Value, message: &str, now: Timestamp) -> Result<bytes::Bytes, ApiError> {
        let changed = with_condition(object, "Failed", "SignerValidationFailure", message, now);
        self.context.api.put(&format!("{path}/status"), changed.to_string()).await
    }

    /// Removes joining tokens whose time is over.
    async fn clear_tokens(&self) -> Result<(), ApiError> {
        let path =
            format!("{}?fieldSelector=type%3Dbootstrap.kubernetes.io/token", SECRETS.in_namespace("kube-system"));
        let mut all = Ok(());
        for secret in self.context.api.items::<Value>(&path).await? {
            let until = meta::str_at(&secret, &["data", "expiration"]);
            let until = backstay_api::decode::base64_bytes(until).unwrap_or_default();
            let until = String::from_utf8(until).ok();
            let until = until.and_then(|text| text.parse::<Timestamp>().ok());
            if until.is_none_or(|until| until > self.context.clock.now()) {
                continue;
            }
            tracing::info!(secret = meta::name(&secret), "a joining token has expired");
            let options = json!({ "preconditions": { "uid": meta::uid(&secret) } });
            match self.context.api.delete(&SECRETS.object("kube-system", meta::name(&secret)), &options).await {
                Err(error) if error.is_overtaken() => {}
                done => all = all.and(done.map(drop)),
            }
        }
        all
    }
}

fn with_condition(object: &Value, kind: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    let mut changed = object.clone();
    let condition = json!({
        "type": kind, "status": "True", "reason": reason, "message": message,
        "lastUpdateTime": seconds(now), "lastTransitionTime": seconds(now),
    });
    match changed["status"].get_mut("conditions").and_then(Value::as_array_mut) {
        Some(conditions) => conditions.push(condition),
        None => changed["status"]["conditions"] = json!([condition]),
    }
    changed
}
