//! Nodes whose pods run as soon as they are bound, and go as soon as they should.

use backstay_api::time;
use serde_json::{Value, json};

use crate::world::World;

impl World {
    /// A node that stays ready while a test lasts.
    pub async fn lasting_node(&self, node: &Value) {
        self.load(node).await;
        let name = node["metadata"]["name"].as_str().expect("a name");
        let now = time::micros(self.now());
        let spec = json!({ "holderIdentity": name, "leaseDurationSeconds": 3600, "renewTime": now });
        let lease = json!({ "metadata": { "name": name }, "spec": spec });
        self.create("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease).await;
    }

    /// What the agents of all nodes do about the pods of a namespace.
    pub async fn attend(&self, namespace: &str) {
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        for pod in self.items(&pods).await {
            let path = format!("{pods}/{}", pod["metadata"]["name"].as_str().expect("a name"));
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                let options = json!({ "gracePeriodSeconds": 0 });
                self.send(http::Method::DELETE, &path, "application/json", &options).await;
            } else if pod["spec"]["nodeName"].is_string() && pod["status"]["phase"] != "Running" {
                let since = time::seconds(self.now());
                let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": since });
                let status = json!({ "status": { "phase": "Running", "conditions": [ready] } });
                self.patch(&format!("{path}/status"), status).await;
            }
        }
    }

    /// Lets the agents do their work until the DaemonSet has rolled out; returns it.
    pub async fn roll_out(&self, namespace: &str, name: &str) -> Value {
        let path = format!("/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}");
        for _ in 0..600 {
            self.attend(namespace).await;
            self.pass(1).await;
            let daemonset = self.get(&path).await;
            let status = &daemonset["status"];
            let desired = status["desiredNumberScheduled"].as_u64().unwrap_or(0);
            let all = |field: &str| status[field].as_u64().unwrap_or(0) == desired;
            let seen = status["observedGeneration"] == daemonset["metadata"]["generation"];
            if seen && desired > 0 && all("updatedNumberScheduled") && all("numberAvailable") {
                return daemonset;
            }
        }
        panic!("{path} does not roll out: {:#}", self.get(&path).await);
    }
}
