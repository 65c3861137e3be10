//! A stand-in for the kubelets of all nodes: a pod that is bound becomes Running and Ready, one that is being deleted
//! goes. For comparisons with recordings that were made with just such a stand-in.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Plays until it is dropped.
pub struct Kubelet {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Kubelet {
    pub fn play(kubeconfig: &Path) -> Self {
        let (stop, stopped) = oneshot::channel();
        let kubeconfig = kubeconfig.to_path_buf();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let client = client(&kubeconfig).await;
                tokio::select! {
                    _ = stopped => {}
                    () = play(&client) => {}
                }
            });
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there shows in the test's output, and in pods that never become ready.
            let _ = thread.join();
        }
    }
}

pub async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

pub async fn send(client: &Client, method: &str, path: &str, kind: &str, body: &Value) -> Result<Value, kube::Error> {
    let request = http::Request::builder().method(method).uri(path).header("Content-Type", kind);
    client.request(request.body(body.to_string().into_bytes()).expect("a request")).await
}

async fn play(client: &Client) {
    loop {
        // A server that is being restarted answers nothing for a while.
        if let Ok(pods) = send(client, "GET", "/api/v1/pods", "application/json", &Value::Null).await {
            for pod in pods["items"].as_array().into_iter().flatten() {
                tend(client, pod).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// One step towards what the pod should be. A write that fails is tried again with the next round.
async fn tend(client: &Client, pod: &Value) {
    let meta = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_string();
    let path = format!("/api/v1/namespaces/{}/pods/{}", meta("namespace"), meta("name"));
    if pod["metadata"]["deletionTimestamp"].is_string() {
        let now = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": meta("uid") } });
        let _ = send(client, "DELETE", &path, "application/json", &now).await;
    } else if pod["spec"]["nodeName"].is_string() && pod["status"]["phase"] == "Pending" {
        let status = json!({ "metadata": { "uid": meta("uid") }, "status": running(pod) });
        let path = format!("{path}/status?fieldManager=unknown");
        let _ = send(client, "PATCH", &path, "application/merge-patch+json", &status).await;
    }
}

fn running(pod: &Value) -> Value {
    let time = "2026-01-01T00:00:00Z";
    let conditions: Vec<Value> = ["Initialized", "Ready", "ContainersReady"]
        .iter()
        .map(|kind| json!({ "type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": time }))
        .collect();
    let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let statuses: Vec<Value> = containers
        .iter()
        .map(|container| {
            let state = json!({ "running": { "startedAt": time } });
            json!({ "name": container["name"], "image": container["image"], "imageID": "", "ready": true,
                    "restartCount": 0, "started": true, "state": state })
        })
        .collect();
    json!({ "phase": "Running", "startTime": time, "conditions": conditions, "containerStatuses": statuses,
            "hostIP": "10.0.0.1", "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.1" }] })
}
