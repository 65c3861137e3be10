//! kube-rs, the client that our own controllers are written with: reflectors by list and by stream, a controller with
//! finalizers, server-side apply, waiting, events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Event as CoreEvent, Pod, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::finalizer::{Event as Finalizing, finalizer};
use kube::runtime::reflector::{self, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{Controller, WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::support::PATIENCE;
use super::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn reflectors_stay_true_through_cuts_and_restarts() {
    let mut world = World::start();
    let api = config_maps(&world).await;
    let rows = [
        ("list", watcher::Config::default()),
        ("pages", watcher::Config::default().page_size(1)),
        ("stream", watcher::Config::default().streaming_lists()),
        ("no-bookmarks", watcher::Config::default().disable_bookmarks()),
    ];
    for (label, config) in rows {
        create(&api, "a", label).await;
        create(&api, "b", label).await;
        let follower = Follower::of(api.clone(), config.labels(&format!("by={label}")));
        follower.sees(label, &["a", "b"]).await;
        for number in 0..3 {
            world.proxy.cut();
            create(&api, &format!("cut-{number}"), label).await;
            follower.sees(label, &["a", "b", &format!("cut-{number}")]).await;
            delete(&api, &format!("cut-{number}"), label).await;
            follower.sees(label, &["a", "b"]).await;
        }
        assert_eq!(follower.count("Init"), 1, "{label}: a cut needs no new list: {:?}", follower.told());
        world.restart();
        create(&api, "c", label).await;
        delete(&api, "a", label).await;
        follower.sees(label, &["b", "c"]).await;
    }
}

/// While a client was away its version was forgotten, and an object went: it is told that, and lists again.
#[tokio::test(flavor = "multi_thread")]
async fn a_reflector_that_comes_too_late_starts_anew() {
    let mut world = World::start();
    for (label, config) in
        [("list", watcher::Config::default()), ("stream", watcher::Config::default().streaming_lists())]
    {
        let near = Api::default_namespaced(client(&world.server().kubeconfig).await);
        create(&near, "goes", label).await;
        create(&near, "stays", label).await;
        let follower = Follower::of(config_maps(&world).await, config.labels(&format!("by={label}")));
        follower.sees(label, &["goes", "stays"]).await;
        world.proxy.refuse(true);
        world.proxy.cut();
        delete(&near, "goes", label).await;
        world.restart();
        create(&near, "comes", label).await;
        world.proxy.refuse(false);
        follower.sees(label, &["comes", "stays"]).await;
        assert!(follower.count("gone") >= 1 && follower.count("Init") >= 2, "{label}: {:?}", follower.told());
    }
}

/// Without a watcher around it: what an expired version is answered with, and what a watch of metadata brings.
#[tokio::test(flavor = "multi_thread")]
async fn raw_watches_and_watches_of_metadata() {
    let mut world = World::start();
    let api = config_maps(&world).await;
    let old = api.list(&ListParams::default()).await.expect("a list").metadata.resource_version.expect("a version");
    create(&api, "a", "raw").await;
    let mut events = api.watch(&WatchParams::default().labels("by=raw"), &old).await.expect("a watch").boxed();
    let first = events.next().await.expect("an event").expect("no error");
    assert!(matches!(&first, WatchEvent::Added(object) if object.name_any() == "raw-a"), "{first:?}");
    world.restart();
    insistently("a list", async || api.list(&ListParams::default()).await).await;
    let mut events = api.watch(&WatchParams::default(), &old).await.expect("a watch").boxed();
    let first = events.next().await.expect("an event");
    assert!(matches!(&first, Ok(WatchEvent::Error(status)) if status.code == 410), "{first:?}");

    let api: Api<PartialObjectMeta<ConfigMap>> = Api::default_namespaced(api.into_client());
    let metadata = watcher(api, watcher::Config::default().labels("by=raw")).backoff(Soon);
    let mut objects = metadata.applied_objects().boxed();
    let next = objects.next().await.expect("an object").expect("no error");
    assert_eq!(next.name_any(), "raw-a");
    assert_eq!(next.types.map(|types| types.kind).as_deref(), Some("PartialObjectMetadata"));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_keeps_owners_apart() {
    let world = World::start();
    let api = config_maps(&world).await;
    let apply = async |manager: &str, data: Value, force: bool| {
        let patch = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data});
        let params = PatchParams { force, ..PatchParams::apply(manager) };
        api.patch("x", &params, &Patch::Apply(patch)).await
    };
    let data = |object: Result<ConfigMap, kube::Error>| object.expect("applied").data.unwrap_or_default();
    let expected = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    assert_eq!(data(apply("one", json!({"a": "1", "b": "1"}), false).await), expected(&[("a", "1"), ("b", "1")]));
    let conflict = apply("two", json!({"a": "2"}), false).await.expect_err("one owns it");
    assert!(matches!(&conflict, kube::Error::Api(status) if status.code == 409), "{conflict:?}");
    // The same value may be shared, and then stays when one of its owners leaves.
    assert_eq!(data(apply("two", json!({"a": "1"}), false).await), expected(&[("a", "1"), ("b", "1")]));
    assert_eq!(data(apply("one", json!({}), false).await), expected(&[("a", "1")]));
    assert_eq!(data(apply("one", json!({"a": "3"}), true).await), expected(&[("a", "3")]));
    let before = api.get("x").await.expect("there");
    let again = apply("one", json!({"a": "3"}), true).await.expect("applied");
    assert_eq!(again.metadata, before.metadata, "what changes nothing is no write");
}

/// A controller makes a secret for each config map, and cleans up before one goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_controller_keeps_reconciling() {
    let mut world = World::start();
    let client = client(&world.kubeconfig).await;
    let (config_maps, secrets): (Api<ConfigMap>, Api<Secret>) =
        (Api::default_namespaced(client.clone()), Api::default_namespaced(client.clone()));
    let cleaned = Arc::new(Mutex::new(BTreeSet::new()));
    let controller = Controller::new(config_maps.clone(), watcher::Config::default().labels("by=controller"))
        .owns(secrets.clone(), watcher::Config::default())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(50)), Arc::new((client, cleaned.clone())));
    // What fails is tried again; this tells why if it never works.
    let running = Task(tokio::spawn(controller.for_each(async |done| {
        if let Err(error) = done {
            println!("{error:?}");
        }
    })));

    create(&config_maps, "a", "controller").await;
    eventually("the first secret", async || secrets.get_opt("controller-a").await.ok().flatten()).await;
    world.proxy.cut();
    insistently("a deletion", async || secrets.delete("controller-a", &DeleteParams::default()).await).await;
    eventually("the secret again", async || secrets.get_opt("controller-a").await.ok().flatten()).await;
    world.restart();
    create(&config_maps, "b", "controller").await;
    eventually("the second secret", async || secrets.get_opt("controller-b").await.ok().flatten()).await;

    delete(&config_maps, "a", "controller").await;
    let gone = async || matches!(config_maps.get_opt("controller-a").await, Ok(None)).then_some(());
    eventually("the end of the config map", gone).await;
    let cleaned = cleaned.lock().expect("not poisoned").clone();
    assert_eq!(cleaned, BTreeSet::from(["controller-a".to_string()]));
    // Its secret is collected as garbage.
    eventually("the end of its secret", async || {
        matches!(secrets.get_opt("controller-a").await, Ok(None)).then_some(())
    })
    .await;
    assert!(secrets.get("controller-b").await.is_ok());
    drop(running);
}

/// What was cleaned is a set: whose watch is behind may see an object again that it has just cleaned.
type Context = (Client, Arc<Mutex<BTreeSet<String>>>);

async fn reconcile(
    object: Arc<ConfigMap>,
    context: Arc<Context>,
) -> Result<Action, kube::runtime::finalizer::Error<kube::Error>> {
    let (client, cleaned) = &*context;
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    finalizer(&api, "example.com/cleanup", object, async |event| match event {
        Finalizing::Apply(object) => {
            let secrets: Api<Secret> = Api::default_namespaced(client.clone());
            let name = object.name_any();
            let owner = object.controller_owner_ref(&());
            let secret = json!({"apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": name, "ownerReferences": [owner]}, "stringData": {"of": name}});
            secrets.patch(&name, &PatchParams::apply("controller").force(), &Patch::Apply(secret)).await?;
            Ok(Action::await_change())
        }
        Finalizing::Cleanup(object) => {
            cleaned.lock().expect("not poisoned").insert(object.name_any());
            Ok(Action::await_change())
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_awaited_and_events_recorded() {
    let world = World::start();
    let client = client(&world.kubeconfig).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "boats", "kind": "Boat"}, "versions": [{"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    let definition = serde_json::from_value(definition).expect("a definition");
    definitions.create(&PostParams::default(), &definition).await.expect("created");
    let established = await_condition(definitions, "boats.example.com", conditions::is_crd_established());
    tokio::time::timeout(PATIENCE, established).await.expect("in time").expect("no error");
    let boat = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Boat"));
    let boats: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &boat);
    let ketch = DynamicObject::new("ketch", &boat).data(json!({"masts": 2}));
    let made = boats.create(&PostParams::default(), &ketch).await.expect("created");
    assert_eq!(made.data["masts"], 2);

    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"nodeName": "sim-00000", "containers": [{"name": "main", "image": "main:v1"}]}});
    let pod = pods.create(&PostParams::default(), &serde_json::from_value(pod).expect("a pod")).await.expect("created");
    let running = await_condition(pods.clone(), "p", conditions::is_pod_running());
    tokio::time::timeout(PATIENCE, running).await.expect("in time").expect("no error");
    let uid = pod.uid().expect("a uid");
    let deletion = async { pods.delete("p", &DeleteParams::default()).await.map(|_| ()) };
    let deleted = await_condition(pods.clone(), "p", conditions::is_deleted(&uid));
    let (asked, deleted) = tokio::join!(deletion, tokio::time::timeout(PATIENCE, deleted));
    asked.expect("no error");
    deleted.expect("in time").expect("no error");

    let recorder = Recorder::new(client.clone(), "tester".into());
    let event = Event {
        type_: EventType::Warning,
        reason: "Listing".into(),
        note: Some("the ketch leans".into()),
        action: "Sailing".into(),
        secondary: None,
    };
    for _ in 0..2 {
        recorder.publish(&event, &made.object_ref(&boat)).await.expect("published");
    }
    let events: Api<CoreEvent> = Api::default_namespaced(client);
    let found = events.list(&ListParams::default().fields("reason=Listing")).await.expect("a list").items;
    let seen: Vec<(Option<&str>, Option<i32>)> = found
        .iter()
        .map(|event| (event.message.as_deref(), event.series.as_ref().and_then(|series| series.count)))
        .collect();
    assert_eq!(seen, [(Some("the ketch leans"), Some(2))], "one event, seen twice");
}

/// A reflector in a task of its own, and what it was told.
struct Follower {
    store: Store<ConfigMap>,
    told: Arc<Mutex<Vec<String>>>,
    _task: Task,
}

impl Follower {
    fn of(api: Api<ConfigMap>, config: watcher::Config) -> Self {
        let (store, writer) = reflector::store();
        let told = Arc::new(Mutex::new(Vec::new()));
        let events = watcher(api, config).backoff(Soon).reflect(writer);
        let notes = told.clone();
        let task = tokio::spawn(events.for_each(move |event| {
            notes.lock().expect("not poisoned").push(match event {
                Ok(event) => event.to_string(),
                Err(watcher::Error::WatchError(status)) if status.code == 410 => "gone".into(),
                Err(error) => format!("broken: {error}"),
            });
            std::future::ready(())
        }));
        Self { store, told, _task: Task(task) }
    }

    /// Waits until it has these and no others.
    async fn sees(&self, label: &str, names: &[&str]) {
        let expected: Vec<String> = names.iter().map(|name| format!("{label}-{name}")).collect();
        let what = format!("{expected:?} in the store");
        eventually(&what, async || {
            let mut found: Vec<String> = self.store.state().iter().map(|object| object.name_any()).collect();
            found.sort();
            (found == expected).then_some(())
        })
        .await;
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().expect("not poisoned").clone()
    }

    fn count(&self, what: &str) -> usize {
        self.told().iter().filter(|told| *told == what).count()
    }
}

/// Ends with its guard.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tests have no time for the pauses that are kind to a server.
struct Soon;

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(20))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {}
}

async fn client(kubeconfig: &std::path::Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a configuration")).expect("a client")
}

/// Those of the default namespace, through the network.
async fn config_maps(world: &World) -> Api<ConfigMap> {
    Api::default_namespaced(client(&world.kubeconfig).await)
}

/// `LABEL-NAME`, with the label `by`.
async fn create(api: &Api<ConfigMap>, name: &str, label: &str) {
    let object = json!({"metadata": {"name": format!("{label}-{name}"), "labels": {"by": label}}});
    let object: ConfigMap = serde_json::from_value(object).expect("a config map");
    insistently("a creation", async || match api.create(&PostParams::default(), &object).await {
        // The connection was cut between the deed and the answer.
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        other => other.map(|_| ()),
    })
    .await;
}

async fn delete(api: &Api<ConfigMap>, name: &str, label: &str) {
    let name = format!("{label}-{name}");
    insistently("a deletion", async || match api.delete(&name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.reason == "NotFound" => Ok(()),
        other => other.map(|_| ()),
    })
    .await;
}

/// Tries again while it is the network that fails.
async fn insistently<T>(what: &str, call: impl AsyncFn() -> Result<T, kube::Error>) -> T {
    eventually(what, async || match call().await {
        Ok(done) => Some(done),
        Err(kube::Error::Api(status)) => panic!("{what}: {status:?}"),
        Err(_) => None,
    })
    .await
}

async fn eventually<T>(what: &str, found: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
