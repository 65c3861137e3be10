//! Tokens of service accounts: asked for, shown, reviewed, and what ends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use backstay_api::Clock;
use backstay_apiserver::tokens::Signer;
use jiff::Timestamp;
use serde_json::Value;

use crate::script::World;

/// A world with tokens and accounts, whose clock can be put forward.
struct Moving {
    world: World,
    now: Arc<AtomicI64>,
    _keys: tempfile::TempDir,
}

impl Moving {
    async fn new() -> Self {
        let now = Arc::new(AtomicI64::new(1_800_000_000));
        let keys = tempfile::tempdir().expect("a directory");
        let signer = Signer::open(keys.path(), Timestamp::UNIX_EPOCH).expect("a signer");
        let seconds = now.clone();
        let world = World::with(|config| {
            config.tokens = Some(Arc::new(signer));
            config.root_ca = Some("PEM".into());
            config.disabled_admission_plugins.clear();
            config.clock =
                Clock::new(move || Timestamp::from_second(seconds.load(Ordering::Relaxed)).expect("in range"));
        })
        .await;
        Self { world, now, _keys: keys }
    }

    async fn run(&mut self, script: &str) {
        self.world.run(script).await;
    }

    fn wait(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }
}

const WHO: &str = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews {}";
const ACCOUNT: &str = "/api/v1/namespaces/default/serviceaccounts";
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test(start_paused = true)]
async fn a_token_is_its_account_until_its_time_is_over() {
    let mut moving = Moving::new().await;
    moving
        .run(&format!(
            r#"
            > POST {ACCOUNT} {{"metadata":{{"name":"bot"}}}}
            < 201 metadata.uid:=uid
            > POST {ACCOUNT}/bot/token {{"spec":{{"expirationSeconds":600}}}}
            < 201 status.token:=token spec.audiences=["https://kubernetes.default.svc"] metadata.name="bot"
            > @- !authorization=Bearer%20${{token}} {WHO}
            < 201 status.userInfo.username="system:serviceaccount:default:bot" status.userInfo.uid="${{uid}}" status.userInfo.groups=["system:serviceaccounts","system:serviceaccounts:default","system:authenticated"] status.userInfo.extra~JTI=
            > @- !authorization=Bearer%20${{token}} GET /api/v1/namespaces/default/secrets
            < 403 message~system:serviceaccount:default:bot
            > @- !authorization=Bearer%20${{token}}x {WHO}
            < 401 reason="Unauthorized" message="Unauthorized"
            > @- !authorization=Bearer%20nonsense GET /readyz
            < 401
            > @- !authorization=Basic%20YTpi GET /readyz
            < 200 body~ok
            > @- !authorization=Basic%20YTpi GET /api/v1/nodes
            < 403 message~system:anonymous
            "#
        ))
        .await;
    moving.wait(599);
    moving.run(&format!("> @- !authorization=Bearer%20${{token}} {WHO}\n< 201")).await;
    moving.wait(1);
    moving.run(&format!("> @- !authorization=Bearer%20${{token}} {WHO}\n< 401")).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_with_what_it_was_issued_for() {
    let bound = |kind: &str, name: &str| {
        format!(r#"{{"spec":{{"boundObjectRef":{{"apiVersion":"v1","kind":"{kind}","name":"{name}"}}}}}}"#)
    };
    let pod =
        r#"{"metadata":{"name":"p"},"spec":{"serviceAccountName":"bot","containers":[{"name":"c","image":"i"}]}}"#;
    let things = [
        ("", "{}".to_string(), format!("{ACCOUNT}/bot"), r#"{"metadata":{"name":"bot"}}"#),
        ("Pod", bound("Pod", "p"), format!("{PODS}/p"), pod),
        ("Secret", bound("Secret", "s"), "/api/v1/namespaces/default/secrets/s".into(), r#"{"metadata":{"name":"s"}}"#),
        ("Node", bound("Node", "n"), "/api/v1/nodes/n".into(), r#"{"metadata":{"name":"n"}}"#),
    ];
    for (kind, request, path, object) in things {
        let mut moving = Moving::new().await;
        let (collection, _) = path.rsplit_once('/').expect("a name");
        let account = format!("> POST {ACCOUNT} {{\"metadata\":{{\"name\":\"bot\"}}}}\n< 201\n");
        let made = if kind.is_empty() { String::new() } else { format!("> POST {collection} {object}\n< 201\n") };
        let who = format!("> @- !authorization=Bearer%20${{token}} {WHO}\n<");
        moving
            .run(&format!(
                "{account}{made}> POST {ACCOUNT}/bot/token {request}\n< 201 status.token:=token\n{who} 201\n\
                 > DELETE {path}\n< 200\n{who} 401\n> POST {collection} {object}\n< 201\n{who} 401"
            ))
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_in_deletion_keeps_its_token_a_little_longer() {
    let mut moving = Moving::new().await;
    moving
        .run(&format!(
            r#"
            > POST {PODS} {{"metadata":{{"name":"p","finalizers":["a/b"]}},"spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}
            < 201
            > POST {ACCOUNT}/default/token {{"spec":{{"boundObjectRef":{{"apiVersion":"v1","kind":"Pod","name":"p"}}}}}}
            < 201 status.token:=token
            > DELETE {PODS}/p
            < 200
            "#
        ))
        .await;
    moving.wait(60);
    moving.run(&format!("> @- !authorization=Bearer%20${{token}} {WHO}\n< 201 status.userInfo.extra~pod-name")).await;
    moving.wait(1);
    moving.run(&format!("> @- !authorization=Bearer%20${{token}} {WHO}\n< 401")).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_for() {
    let mut moving = Moving::new().await;
    let bind =
        |reference: &str| format!(r#"> POST {ACCOUNT}/bot/token {{"spec":{{"boundObjectRef":{{{reference}}}}}}}"#);
    moving
        .run(&format!(
            r#"
            > POST {ACCOUNT} {{"metadata":{{"name":"bot"}}}}
            < 201
            > POST /api/v1/namespaces/default/secrets {{"metadata":{{"name":"s"}}}}
            < 201
            > POST {PODS} {{"metadata":{{"name":"p"}},"spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}
            < 201
            {}
            < 400 message="cannot bind token for serviceaccount \"bot\" to pod running with different serviceaccount name."
            {}
            < 400 message="cannot bind token to object of type /v1, Kind=ConfigMap"
            {}
            < 400 message="cannot bind token to object of type apps/v1, Kind=Pod"
            {}
            < 404 message="pods \"q\" not found"
            {}
            < 409 reason="Conflict"
            > POST {ACCOUNT}/bot/token {{"metadata":{{"name":"other"}}}}
            < 422 message~match
            > POST {ACCOUNT}/bot/token {{"spec":{{"expirationSeconds":599}}}}
            < 422 message~minutes
            > POST {ACCOUNT}/bot/token {{"spec":{{"expirationSeconds":4294967297}}}}
            < 422 message~2^32
            > POST {ACCOUNT}/no/token {{}}
            < 404 message="serviceaccounts \"no\" not found"
            > @ann POST {ACCOUNT}/bot/token {{}}
            < 403 message~serviceaccounts/token
            "#,
            bind(r#""apiVersion":"v1","kind":"Pod","name":"p""#),
            bind(r#""apiVersion":"v1","kind":"ConfigMap","name":"c""#),
            bind(r#""apiVersion":"apps/v1","kind":"Pod","name":"p""#),
            bind(r#""apiVersion":"v1","kind":"Pod","name":"q""#),
            bind(r#""apiVersion":"v1","kind":"Secret","name":"s","uid":"other""#),
        ))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_can_hold_a_token_without_an_end() {
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = |account: &str| {
        format!(
            r#"{{"metadata":{{"name":"s","annotations":{{"kubernetes.io/service-account.name":"{account}"}}}},"type":"kubernetes.io/service-account-token"}}"#
        )
    };
    let mut moving = Moving::new().await;
    moving
        .run(&format!(
            r#"
            > POST {ACCOUNT} {{"metadata":{{"name":"bot"}}}}
            < 201 metadata.uid:=uid
            > POST {secrets} {}
            < 201
            > GET {secrets}/s
            < 200 data.namespace="ZGVmYXVsdA==" data.token:=data metadata.annotations~${{uid}}
            > PATCH {secrets}/s [merge]{{"data":{{"ca.crt":"eA=="}}}}
            < 200
            > GET {secrets}/s
            < 200 data.token="${{data}}"
            > POST {secrets} {}
            < 201
            > GET {secrets}/t
            < 404
            "#,
            secret("bot"),
            secret("nobody").replace(r#""name":"s""#, r#""name":"t""#),
        ))
        .await;
    let held: Value = serde_json::from_str(&moving.world.send(&format!("GET {secrets}/s")).await.body).expect("JSON");
    let token = backstay_api::decode::base64_bytes(held["data"]["token"].as_str().expect("text")).expect("base64");
    let token = String::from_utf8(token).expect("text");
    moving.wait(1 << 31);
    let who = format!("> @- !authorization=Bearer%20{token} {WHO}\n<");
    moving
        .run(&format!(
            r#"
            {who} 201 status.userInfo.username="system:serviceaccount:default:bot"
            > PATCH {secrets}/s [merge]{{"data":{{"token":"eA=="}}}}
            < 200
            {who} 401
            > PATCH {secrets}/s [merge]{{"data":{{"token":null}}}}
            < 200
            > GET {secrets}/s
            < 200 data.token~ZXlK
            > DELETE {ACCOUNT}/bot
            < 200
            {who} 401
            > GET {secrets}/s
            < 404
            "#
        ))
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_issuer_can_be_discovered() {
    let mut moving = Moving::new().await;
    moving
        .run(&format!(
            r#"
            > POST {ACCOUNT}/default/token {{}}
            < 201 status.token:=token
            > @- !authorization=Bearer%20${{token}} !host=a:1 GET /.well-known/openid-configuration
            < 200 issuer="https://kubernetes.default.svc" jwks_uri="https://a:1/openid/v1/jwks" id_token_signing_alg_values_supported=["ES256"]
            > @- !authorization=Bearer%20${{token}} GET /openid/v1/jwks
            < 200 keys.0.kty="EC" keys.0.crv="P-256" keys.0.alg="ES256" keys.0.d=null
            > @ann GET /openid/v1/jwks
            < 403
            "#
        ))
        .await;
}

#[tokio::test(start_paused = true)]
async fn namespaces_keep_their_account_and_certificate() {
    let place = "/api/v1/namespaces/new";
    let mut moving = Moving::new().await;
    moving
        .run(&format!(
            r#"
            > POST /api/v1/namespaces {{"metadata":{{"name":"new"}}}}
            < 201
            > GET {place}/serviceaccounts/default
            < 200 metadata.uid:=uid
            > GET {place}/configmaps/kube-root-ca.crt
            < 200 data={{"ca.crt":"PEM"}} metadata.annotations~bundle
            > PATCH {place}/configmaps/kube-root-ca.crt [merge]{{"data":{{"ca.crt":"mine","more":"x"}}}}
            < 200
            > GET {place}/configmaps/kube-root-ca.crt
            < 200 data={{"ca.crt":"PEM"}}
            > PUT {place}/configmaps/kube-root-ca.crt {{"metadata":{{"name":"kube-root-ca.crt"}}}}
            < 200
            > GET {place}/configmaps/kube-root-ca.crt
            < 200 data={{"ca.crt":"PEM"}} metadata.annotations~bundle
            > DELETE {place}/configmaps
            < 200
            > GET {place}/configmaps/kube-root-ca.crt
            < 200 data={{"ca.crt":"PEM"}}
            > PATCH {place}/configmaps/kube-root-ca.crt [merge]{{"metadata":{{"finalizers":["a/b"]}}}}
            < 200
            > DELETE {place}/configmaps/kube-root-ca.crt
            < 200
            > PATCH {place}/configmaps/kube-root-ca.crt [merge]{{"metadata":{{"finalizers":null}}}}
            < 200
            > GET {place}/configmaps/kube-root-ca.crt
            < 200 metadata.finalizers=null
            > DELETE {place}/serviceaccounts/default
            < 200
            > GET {place}/serviceaccounts/default
            < 200 metadata.name="default"
            "#
        ))
        .await;
}

#[tokio::test(start_paused = true)]
async fn pods_run_as_an_account_of_their_namespace() {
    let mut moving = Moving::new().await;
    let pod = |spec: &str| {
        format!(r#"{{"metadata":{{"generateName":"p-"}},"spec":{{"containers":[{{"name":"c","image":"i"}}]{spec}}}}}"#)
    };
    moving
        .run(&format!(
            r#"
            > POST {PODS} {}
            < 201 spec.serviceAccountName="default" spec.volumes.0.name~kube-api-access- spec.volumes.0.projected.sources.1.configMap.name="kube-root-ca.crt" spec.containers.0.volumeMounts.0.mountPath="/var/run/secrets/kubernetes.io/serviceaccount"
            > POST {PODS} {}
            < 403 message="pods \"p-\" is forbidden: error looking up service account default/no: serviceaccount \"no\" not found"
            > POST {PODS} {}
            < 201 spec.serviceAccountName="default" spec.volumes=null
            > POST {ACCOUNT} {{"metadata":{{"name":"bot"}},"imagePullSecrets":[{{"name":"r"}}],"automountServiceAccountToken":false}}
            < 201
            > POST {PODS} {}
            < 201 spec.serviceAccountName="bot" spec.serviceAccount="bot" spec.volumes=null spec.imagePullSecrets=[{{"name":"r"}}]
            "#,
            pod(""),
            pod(r#","serviceAccountName":"no""#),
            pod(r#","automountServiceAccountToken":false"#),
            pod(r#","serviceAccount":"bot""#),
        ))
        .await;
}
