//! What the server does not put up with, and what it says then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backstay_apiserver::{Limits, UserInfo};
use futures::StreamExt;
use http::Request;

use crate::script::{World, check};

#[tokio::test(start_paused = true)]
async fn bodies_and_paths_have_an_end() {
    let limits = Limits { body_bytes_max: 100, uri_bytes_max: 200, ..Limits::default() };
    let mut world = World::with(|config| config.limits = limits).await;
    let long = "x".repeat(200);
    world
        .run(&format!(
            r#"
            > POST /api/v1/namespaces/default/configmaps {{"metadata":{{"name":"c"}},"data":{{"k":"{long}"}}}}
            < 413 reason="RequestEntityTooLarge" message="Request entity too large: limit is 100"
            > GET /api/v1/configmaps?labelSelector={long}
            < 414
            "#
        ))
        .await;
}

#[tokio::test(start_paused = true)]
async fn too_many_at_once_are_sent_away() {
    let limits = Limits { reads_max: 0, waiting_max: 0, ..Limits::default() };
    let mut world = World::with(|config| config.limits = limits).await;
    world
        .run(
            r#"
            > GET /api/v1/configmaps
            < 429
            > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c"}}
            < 201
            > GET /api/v1/configmaps?watch=1&timeoutSeconds=1
            < 200 ADDED c
            > GET /readyz
            < 200
            "#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_waits_its_turn() {
    let limits = Limits { reads_max: 1, waiting_max: 3, ..Limits::default() };
    let world = World::with(|config| config.limits = limits).await;
    // Each list waits for three seconds for a version that does not come; one is served at a time.
    let begun = tokio::time::Instant::now();
    let burst = (0..6).map(|_| world.send("GET /api/v1/configmaps?resourceVersion=9999"));
    let mut codes: Vec<u16> = futures::future::join_all(burst).await.iter().map(|answer| answer.code).collect();
    codes.sort();
    assert_eq!(codes, [429, 429, 504, 504, 504, 504]);
    assert!(begun.elapsed() >= Duration::from_secs(12), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_told_so() {
    let limits = Limits { request_lasts_max: Duration::from_secs(1), ..Limits::default() };
    let mut world = World::with(|config| config.limits = limits).await;
    // This list waits three seconds for a version that does not come.
    world.run("> GET /api/v1/configmaps?resourceVersion=9999\n< 504 reason=\"Timeout\" message~allotted").await;
}

#[tokio::test(start_paused = true)]
async fn strangers_see_health_and_nothing_else() {
    let world = World::new().await;
    let anonymous = |path: &str| (Request::get(path).body(Default::default()).unwrap(), UserInfo::anonymous());
    for (path, code) in [
        ("/readyz", 200),
        ("/livez", 200),
        ("/healthz", 200),
        ("/readyz/ping", 403),
        ("/version", 403),
        ("/", 403),
        ("/api", 403),
        ("/openapi/v3", 403),
        ("/api/v1/nodes", 403),
        ("/metrics", 403),
        ("/openid/v1/jwks", 403),
        ("/nosuch", 403),
    ] {
        let (request, user) = anonymous(path);
        assert_eq!(world.call(request, user).await.code, code, "{path}");
    }
}

/// A client that is still sending when it is refused must be able to finish, or it never sees the refusal.
#[tokio::test(start_paused = true)]
async fn the_body_of_a_refused_request_is_read() {
    let world = World::new().await;
    let left = Arc::new(AtomicUsize::new(3));
    let sent = left.clone();
    let frames = futures::stream::iter(0..3).map(move |_| {
        sent.fetch_sub(1, Ordering::Relaxed);
        Ok::<_, std::io::Error>("{}")
    });
    let request = Request::post("/api/v1/nodes").body(axum::body::Body::from_stream(frames)).unwrap();
    assert_eq!(world.call(request, UserInfo::anonymous()).await.code, 403);
    assert_eq!(left.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn unknown_paths_and_methods_are_told_apart() {
    check(
        r#"
        > GET /nosuch
        < 404
        > GET /apis/nosuch/v1/things
        < 404
        > GET /apis/apps/v1/things
        < 404 reason="NotFound" message="the server could not find the requested resource"
        > GET /apis/apps/v1/namespaces/default/daemonsets/d/scale
        < 404 reason="NotFound"
        > GET /api/v1/configmaps/c
        < 404
        > GET /api/v1/namespaces/default/nodes
        < 404
        > POST /api/v1/namespaces/default/configmaps/c {}
        < 405 reason="MethodNotAllowed"
        > DELETE /api/v1/namespaces
        < 405
        > PUT /api
        < 405
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_answer_can_be_traced() {
    let world = World::new().await;
    let request = Request::get("/readyz").header("audit-id", "mine").body(Default::default()).unwrap();
    let answer = world.call(request, UserInfo::anonymous()).await;
    assert_eq!(answer.headers["audit-id"], "mine");
    let answer = world.send("GET /version").await;
    assert_eq!(answer.headers["audit-id"].len(), 36);
    let metrics = world.send("GET /metrics").await.body;
    assert!(
        metrics.contains("apiserver_request_total{verb=\"get\",group=\"\",resource=\"\",code=\"200\"} 2"),
        "{metrics}"
    );
}
