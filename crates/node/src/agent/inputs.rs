//! Fetches what a pod refers to, and writes its volumes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use backstay_api::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Context, files, pods_dir};
use crate::client;
use crate::pod_inputs::volumes::{self, Volume};
use crate::pod_inputs::{Objects, Reference, objects, security};
use crate::wait;

/// A token that lasts long is renewed all the same. Source: `maxTTL` of a kubelet's token manager.
const TOKEN_USED_MAX: Duration = Duration::from_secs(24 * 3600);

/// What one pod has been given so far.
#[derive(Default)]
pub(super) struct Inputs {
    pub(super) objects: Objects,
    /// When each token was got, and after how long it is to be asked for again.
    tokens: BTreeMap<Reference, (Timestamp, Duration)>,
    /// Where each volume lies, and whether we write it.
    pub(super) places: BTreeMap<String, (PathBuf, bool)>,
}

impl Inputs {
    /// Fetches everything that the pod refers to anew; tokens only when most of their time is over.
    ///
    /// # Errors
    /// If the server does not answer. What does not exist is no error here.
    pub(super) async fn fetch(&mut self, context: &Context, pod: &Value) -> Result<(), String> {
        if context.api.is_cut() {
            return Err("the server cannot be reached".to_string());
        }
        let now = context.config.clock.now();
        let mut fetched = BTreeMap::new();
        for reference in objects::references(pod) {
            let fresh = self.tokens.get(&reference).filter(|(at, used)| !wait::is_over(*at, *used, now));
            let held = fresh.and(self.objects.0.get(&reference));
            let object = match held {
                Some(held) => held.clone(),
                None => self.fetch_one(context, pod, &reference, now).await?,
            };
            fetched.insert(reference, object);
        }
        self.objects = Objects(fetched);
        Ok(())
    }

    async fn fetch_one(
        &mut self,
        context: &Context,
        pod: &Value,
        reference: &Reference,
        now: Timestamp,
    ) -> Result<Option<Value>, String> {
        let namespace = meta::namespace(pod).unwrap_or("default");
        let base = format!("/api/v1/namespaces/{namespace}");
        let answer = match reference {
            Reference::ConfigMap(name) => context.api.get(&format!("{base}/configmaps/{name}")).await,
            Reference::Secret(name) => context.api.get(&format!("{base}/secrets/{name}")).await,
            Reference::Token { audience, expiration_seconds } => {
                let account = Some(meta::str_at(pod, &["spec", "serviceAccountName"])).filter(|name| !name.is_empty());
                let account = account.unwrap_or("default");
                let request = token_request(pod, audience, *expiration_seconds);
                context.api.post(&format!("{base}/serviceaccounts/{account}/token"), &request).await
            }
        };
        match answer {
            Ok(object) => {
                // Not by when it expires, which the server's clock says: this machine's may go another way.
                if let Some(seconds) = meta::int_at(&object, &["spec", "expirationSeconds"]) {
                    let life = Duration::from_secs(seconds.max(0).unsigned_abs());
                    self.tokens.insert(reference.clone(), (now, life.mul_f64(0.8).min(TOKEN_USED_MAX)));
                }
                Ok(Some(object))
            }
            Err(error) if client::code(&error) == Some(404) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Brings all volumes of the pod up to date on disk.
    ///
    /// # Errors
    /// For the first volume that cannot be, in a kubelet's words.
    pub(super) fn write_volumes(&mut self, context: &Context, pod: &Value) -> Result<(), String> {
        let dir = pods_dir(&context.config.data_dir).join(meta::uid(pod)).join("volumes");
        let group = security::fs_group(pod);
        for volume in meta::list_at(pod, &["spec", "volumes"]) {
            let name = meta::str_at(volume, &["name"]);
            let explain = |why: String| format!("MountVolume.SetUp failed for volume \"{name}\" : {why}");
            let resolved = volumes::resolve(pod, volume, &context.facts, &self.objects).map_err(explain)?;
            let place = files::put(&dir.join(name), &resolved, group).map_err(explain)?;
            self.places.insert(name.to_string(), (place, matches!(resolved, Volume::Files(_))));
        }
        Ok(())
    }
}

fn token_request(pod: &Value, audience: &str, expiration_seconds: i64) -> Value {
    let bound = json!({ "apiVersion": "v1", "kind": "Pod", "name": meta::name(pod), "uid": meta::uid(pod) });
    let audiences: Vec<&str> = Some(audience).filter(|audience| !audience.is_empty()).into_iter().collect();
    json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": { "audiences": audiences, "expirationSeconds": expiration_seconds, "boundObjectRef": bound },
    })
}
