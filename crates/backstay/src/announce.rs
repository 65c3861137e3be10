//! What this server lets machines know of itself, if it is one of several: its Lease, renewed for as long as it runs. Also
//! removes those of servers that have been gone for long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use backstay_api::causes::chain;
use backstay_api::{Clock, meta, servers};
use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};

/// Kubernetes' figure. A server that starts again within this time is still known: its machines look for it all along.
const DURATION: Duration = Duration::from_secs(3600);
/// Every agent hears of each renewal, so that there should be few; three may fail.
const RENEW_EVERY: Duration = Duration::from_secs(900);
/// After one that has failed.
const RETRY: Duration = Duration::from_secs(10);
/// As the one who owns these fields.
const MANAGER: &str = "backstay-server";

pub struct Announcement {
    client: Client,
    clock: Clock,
    url: String,
    holder: String,
    seen: Seen,
    is_renewed: bool,
}

/// By uid, the state of each Lease that was seen last, and since when it has been the same. Clocks of different machines are
/// not compared.
type Seen = BTreeMap<String, (Value, Instant)>;

impl Announcement {
    pub fn new(client: Client, clock: Clock, url: String, holder: String) -> Self {
        Self { client, clock, url, holder, seen: Seen::new(), is_renewed: false }
    }

    /// Renews it for ever, and removes others that have not been renewed.
    pub async fn keep(&mut self) {
        loop {
            tokio::time::sleep(if self.is_renewed { RENEW_EVERY } else { RETRY }).await;
            self.renew().await;
            if let Err(error) = self.clear().await {
                tracing::warn!(error = %chain(&error), "the leases of servers that are gone are not removed; will retry");
            }
        }
    }

    /// Makes the Lease, or renews it. What goes wrong is said, and tried again by [`Announcement::keep`].
    pub async fn renew(&mut self) {
        let duration_seconds = DURATION.as_secs().cast_signed();
        let lease = servers::lease(&self.url, &self.holder, duration_seconds, self.clock.now());
        let path = format!("{}/{}?fieldManager={MANAGER}&force=true", servers::PATH, meta::name(&lease));
        let renewed = self.send(Method::PATCH, &path, "application/apply-patch+yaml", &lease).await;
        self.is_renewed = renewed.is_ok();
        if let Err(error) = renewed {
            tracing::warn!(url = self.url, error = %chain(&error), "machines do not hear of this server; will retry");
        }
    }

    async fn clear(&mut self) -> Result<(), kube::Error> {
        let path = format!("{}?labelSelector={}", servers::PATH, servers::SELECTOR.replace('=', "%3D"));
        let list = self.send(Method::GET, &path, "application/json", &Value::Null).await?;
        for lease in gone(&mut self.seen, meta::list_at(&list, &["items"]), Instant::now()) {
            let path = format!("{}/{}", servers::PATH, meta::name(lease));
            let conditions = json!({ "uid": meta::uid(lease), "resourceVersion": meta::resource_version(lease) });
            match self.send(Method::DELETE, &path, "application/json", &json!({ "preconditions": conditions })).await {
                Ok(_) => {
                    tracing::info!(server = servers::url(lease), "a server has been gone for long: it is forgotten")
                }
                // Somebody was quicker, or it is back.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: &Value) -> Result<Value, kube::Error> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, kind).body(body);
        self.client.request(request.map_err(kube::Error::HttpError)?).await
    }
}

/// The Leases of servers that have not changed for their whole duration, as seen from here.
fn gone<'a>(seen: &mut Seen, leases: &'a [Value], now: Instant) -> Vec<&'a Value> {
    seen.retain(|uid, _| leases.iter().any(|lease| meta::uid(lease) == uid));
    let mut gone = Vec::new();
    for lease in leases.iter().filter(|lease| servers::url(lease).is_some()) {
        let duration = lease["spec"]["leaseDurationSeconds"].as_u64().map_or(DURATION, Duration::from_secs);
        let (spec, since) = seen.entry(meta::uid(lease).to_string()).or_insert_with(|| (Value::Null, now));
        if *spec != lease["spec"] {
            (*spec, *since) = (lease["spec"].clone(), now);
        }
        if now.duration_since(*since) >= duration {
            gone.push(lease);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    /// At each time, the Leases that there are as `URL@RENEWED`, and whose servers are gone then.
    fn check(story: &[(u64, &str, &str)]) {
        let (mut seen, begun) = (Seen::new(), Instant::now());
        for (second, leases, expected) in story {
            let leases = leases.split_whitespace().map(|lease| {
                let (url, renewed) = lease.split_once('@').unwrap();
                let renewed = Timestamp::from_second(renewed.parse().unwrap()).unwrap();
                let mut lease = servers::lease(&format!("https://{url}:1"), "h_1", 60, renewed);
                lease["metadata"]["uid"] = url.into();
                lease
            });
            let mut leases: Vec<Value> = leases.collect();
            leases
                .push(json!({ "metadata": { "name": "not ours", "uid": "x" }, "spec": { "leaseDurationSeconds": 1 } }));
            let gone = gone(&mut seen, &leases, begun + Duration::from_secs(*second));
            let gone: Vec<&str> = gone.into_iter().map(meta::uid).collect();
            assert_eq!(gone.join(" "), *expected, "at {second}");
        }
    }

    #[test]
    fn who_is_silent_for_as_long_as_it_has_said_is_gone() {
        check(&[
            (0, "a@100 b@100", ""),
            (59, "a@159 b@100", ""),
            (60, "a@159 b@100", "b"),
            (61, "a@159", ""),
            (119, "a@159", "a"),
        ]);
        // By other clocks than ours, before and after.
        check(&[
            (0, "a@0 b@999999", ""),
            (30, "a@30 b@1000029", ""),
            (61, "a@60 b@1000029", ""),
            (90, "a@60 b@1000029", "b"),
        ]);
        // One that is back.
        check(&[(0, "a@1", ""), (70, "a@1", "a"), (71, "a@2", ""), (130, "a@2", ""), (131, "a@2", "a")]);
        check(&[(0, "", "")]);
    }
}
