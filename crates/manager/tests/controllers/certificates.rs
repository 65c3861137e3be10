//! Requests for certificates that are cleared away.

use std::sync::Arc;
use std::time::Duration;

use backstay_api::time;
use backstay_controllers::certificates::Asked;
use backstay_manager::certificates::Authority;
use http::Method;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use crate::world::{Line, World};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// Signs nothing.
struct Nobody;

impl Authority for Nobody {
    fn read(&self, _request: &[u8]) -> Result<Asked, String> {
        Err("no request".to_string())
    }

    fn sign(&self, _request: &[u8], _seconds: i64, _usages: &[String], _now: Timestamp) -> Result<String, String> {
        Err("no authority".to_string())
    }

    fn expires(&self, _certificate: &[u8]) -> Option<Timestamp> {
        None
    }
}

/// A request that was denied so long ago; an hour after that it goes.
async fn denied(world: &World, name: &str, ago: Duration) {
    let at = time::seconds(world.now() - ago);
    let condition = json!({ "type": "Denied", "status": "True", "reason": "No", "lastUpdateTime": at });
    world
        .load(&json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": { "name": name, "uid": name, "creationTimestamp": at },
            "spec": { "request": "", "signerName": "x.io/a", "usages": ["client auth"], "username": "u" },
            "status": { "conditions": [condition] },
        }))
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_denied_goes_in_its_time() {
    let mut world = World::without_manager().await;
    denied(&world, "r", Duration::from_secs(3200)).await;
    let begun = world.now();
    world.start_manager(|config| config.authority = Some(Arc::new(Nobody)));
    world.until_gone(&format!("{REQUESTS}/r")).await;
    let took = world.now().duration_since(begun).as_secs();
    assert!((400..410).contains(&took), "gone after {took} s");
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_dealt_with_keeps_no_other_waiting() {
    let mut world = World::without_manager().await;
    denied(&world, "a", Duration::from_secs(4000)).await;
    denied(&world, "b", Duration::from_secs(4000)).await;
    let refused = Some((Method::DELETE, format!("{REQUESTS}/a"), 500));
    let line = Arc::new(watch::Sender::new(Line { refused, ..Line::default() }));
    world.start_manager_on(line.clone(), |config| config.authority = Some(Arc::new(Nobody)));
    world.until_gone(&format!("{REQUESTS}/b")).await;
    assert!(world.exists(&format!("{REQUESTS}/a")).await);
    line.send_modify(|line| line.refused = None);
    world.until_gone(&format!("{REQUESTS}/a")).await;
}
