//! What it costs to change a DaemonSet as clients do. `cargo bench -p backstay-api`.

use backstay_api::managed::{self, Manager};
use backstay_api::patch::strategic_merge;
use backstay_api::resources::{self, Resource};
use backstay_api::schema::{self, Schema, Type};
use backstay_api::{GroupVersionKind, decode, defaults};
use divan::{Bencher, black_box};
use jiff::Timestamp;
use serde_json::{Value, json};

fn main() {
    divan::main();
}

/// A DaemonSet as a node agent's: a few containers, variables, volumes.
fn daemonset(containers: usize) -> Value {
    let container = |number: usize| {
        let env = |variable: usize| json!({ "name": format!("V{variable}"), "value": "x" });
        json!({
            "name": format!("c{number}"), "image": "example/agent:v1",
            "env": (0..10).map(env).collect::<Vec<_>>(),
            "ports": [{ "containerPort": 8000 + number, "name": format!("p{number}") }],
            "resources": { "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "memory": "64Mi" } },
            "volumeMounts": [{ "name": "config", "mountPath": "/etc/agent" }],
        })
    };
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "name": "agent", "namespace": "default", "labels": { "app": "agent" } },
        "spec": {
            "selector": { "matchLabels": { "app": "agent" } },
            "template": {
                "metadata": { "labels": { "app": "agent" } },
                "spec": {
                    "containers": (0..containers).map(container).collect::<Vec<_>>(),
                    "volumes": [{ "name": "config", "configMap": { "name": "agent" } }],
                },
            },
        },
    })
}

struct Bench {
    schema: &'static Schema,
    ty: Type,
    resource: &'static Resource,
}

impl Bench {
    fn new() -> Self {
        let resource = resources::of_kind(&GroupVersionKind::new("apps", "v1", "DaemonSet")).expect("a resource");
        let ty = schema::type_of(&resource.gvk()).expect("a type");
        Self { schema: schema::builtin(), ty, resource }
    }

    /// As it would be stored.
    fn stored(&self, object: &Value) -> Value {
        let mut object = decode::value(self.schema, &self.ty, object.clone()).expect("fits").object;
        defaults::apply(&self.resource.gvk(), &mut object);
        object
    }

    fn apply(&self, live: Option<&Value>, applied: &Value) -> Value {
        let manager = Manager { name: "bench", resource: self.resource, subresource: "", now: Timestamp::UNIX_EPOCH };
        managed::apply(self.schema, &self.ty, live, applied, &manager, false).expect("applied")
    }
}

/// Another image in one of the containers, as `kubectl set image` sends it.
#[divan::bench(args = [1, 10])]
fn strategic_merge_of_an_image(bencher: Bencher, containers: usize) {
    let bench = Bench::new();
    let stored = bench.stored(&daemonset(containers));
    let image = json!({ "name": "c0", "image": "example/agent:v2" });
    let patch = json!({ "spec": { "template": { "spec": {
        "$setElementOrder/containers": [{ "name": "c0" }], "containers": [image] } } } });
    bencher.bench(|| strategic_merge(bench.schema, &bench.ty, black_box(&stored), black_box(&patch)).expect("merged"));
}

/// The whole template put back, as undo sends it.
#[divan::bench(args = [1, 10])]
fn strategic_merge_of_an_undo(bencher: Bencher, containers: usize) {
    let bench = Bench::new();
    let stored = bench.stored(&daemonset(containers));
    let mut template = daemonset(containers)["spec"]["template"].take();
    template["$patch"] = json!("replace");
    let patch = json!({ "spec": { "template": template } });
    bencher.bench(|| strategic_merge(bench.schema, &bench.ty, black_box(&stored), black_box(&patch)).expect("merged"));
}

/// The same configuration with another image, applied by the server.
#[divan::bench(args = [1, 10])]
fn server_side_apply(bencher: Bencher, containers: usize) {
    let bench = Bench::new();
    let live = bench.stored(&bench.apply(None, &daemonset(containers)));
    let mut applied = daemonset(containers);
    applied["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example/agent:v2");
    bencher.bench(|| bench.apply(Some(black_box(&live)), black_box(&applied)));
}
