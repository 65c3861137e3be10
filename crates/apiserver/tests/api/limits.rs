//! What the server does not put up with, and what it says then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backstay_apiserver::{Limits, UserInfo};
use backstay_store::MemoryStore;
use backstay_store::front::LogLimits;
use futures::StreamExt;
use http::Request;
use http_body_util::BodyExt;

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
    let limits = Limits { reads_max: 1, waiting_max: 6, ..Limits::default() };
    let world = World::with(|config| config.limits = limits).await;
    // Each list waits for three seconds for a version that does not come; one is served at a time, and one user fills
    // half of the queue at most.
    let begun = tokio::time::Instant::now();
    let burst = (0..6).map(|_| world.send("GET /api/v1/configmaps?resourceVersion=9999"));
    let mut codes: Vec<u16> = futures::future::join_all(burst).await.iter().map(|answer| answer.code).collect();
    codes.sort();
    assert_eq!(codes, [429, 429, 504, 504, 504, 504]);
    assert!(begun.elapsed() >= Duration::from_secs(12), "{:?}", begun.elapsed());
}

/// One client can make others wait, but not for all that it has to do itself.
#[tokio::test(start_paused = true)]
async fn turns_go_round_among_users() {
    let limits = Limits { reads_max: 1, ..Limits::default() };
    let world = World::with(|config| config.limits = limits).await;
    let list = "GET /api/v1/configmaps?resourceVersion=9999";
    let begun = tokio::time::Instant::now();
    let timed = |user: &'static str| {
        let world = &world;
        async move {
            let answer = world.send(&format!("@{user} {list}")).await;
            (user, answer.code, begun.elapsed().as_secs())
        }
    };
    world.let_read(&["busy", "patient"]).await;
    let mut requests: Vec<_> = (0..5).map(|_| timed("busy")).collect();
    requests.push(timed("patient"));
    let done = futures::future::join_all(requests).await;
    // Each takes three seconds. The patient one comes last, and is served second.
    assert_eq!(done[5], ("patient", 504, 6), "{done:?}");
    assert!(done[..5].iter().all(|(_, code, _)| *code == 504) && done[4].2 >= 18, "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn signs_of_life_do_not_wait_behind_writes() {
    let limits = Limits { writes_max: 0, waiting_max: 0, ..Limits::default() };
    let mut world = World::with(|config| config.limits = limits).await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    world
        .run(&format!(
            r#"
            > POST /api/v1/namespaces/default/configmaps {{"metadata":{{"name":"c"}}}}
            < 429 body~again
            > POST {leases} {{"metadata":{{"name":"n"}},"spec":{{"holderIdentity":"n"}}}}
            < 201
            > PATCH {leases}/n [merge]{{"spec":{{"renewTime":"2026-11-23T17:08:18.250000Z"}}}}
            < 200
            > DELETE {leases}
            < 429
            "#
        ))
        .await;
    let answer = world.send("POST /api/v1/namespaces/default/configmaps {}").await;
    assert_eq!(answer.headers["retry-after"], "1");
}

/// One client fills its seats and its half of the queue, and asks for more. It is sent away; nobody else is.
#[tokio::test(start_paused = true)]
async fn a_greedy_client_keeps_nobody_else_out() {
    let limits = Limits { requests_max: 4, waiting_max: 8, ..Limits::default() };
    let world = World::with(|config| config.limits = limits).await;
    world.let_read(&["greedy", "modest"]).await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let lease = r#"{"metadata":{"name":"n"},"spec":{"holderIdentity":"n","leaseDurationSeconds":40}}"#;
    assert_eq!(world.send(&format!("POST {leases} {lease}")).await.code, 201);
    let begun = tokio::time::Instant::now();
    let timed = |line: String| {
        let world = &world;
        async move {
            let answer = world.send(&line).await;
            (answer, begun.elapsed())
        }
    };
    // Each is served for three seconds: it waits for a version that does not come.
    let slow = "GET /api/v1/configmaps?resourceVersion=9999";
    let greedy = futures::future::join_all((0..20).map(|_| timed(format!("@greedy {slow}"))));
    let modest = timed("@modest GET /api/v1/configmaps".to_string());
    let renewal = timed(format!(r#"PATCH {leases}/n [merge]{{"spec":{{"renewTime":"2026-11-23T17:08:18.250000Z"}}}}"#));
    let health = futures::future::join_all(["livez", "readyz", "healthz"].map(|path| timed(format!("GET /{path}"))));
    let (greedy, modest, renewal, health) = futures::join!(greedy, modest, renewal, health);

    let soon = Duration::from_secs(1);
    assert_eq!((modest.0.code, modest.1 < soon), (200, true), "a seat is left for others");
    assert_eq!((renewal.0.code, renewal.1 < soon), (200, true));
    assert!(health.iter().all(|(answer, took)| answer.code == 200 && *took < soon));
    let refused: Vec<_> = greedy.iter().filter(|(answer, _)| answer.code == 429).collect();
    assert_eq!(refused.len(), 20 - 3 - 4, "three of four seats, and half of the queue, are for one user");
    for (answer, took) in refused {
        assert!(*took < soon, "whoever is refused hears of it at once");
        assert_eq!(answer.headers["retry-after"], "1");
        let status: serde_json::Value = serde_json::from_str(&answer.body).expect("a Status");
        let told = (&status["kind"], &status["reason"], &status["details"]["retryAfterSeconds"]);
        assert_eq!(told, (&"Status".into(), &"TooManyRequests".into(), &1.into()), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_user_cannot_have_all_the_watches() {
    let limits = Limits { streams_per_user_max: 2, ..Limits::default() };
    let world = World::with(|config| config.limits = limits).await;
    let watch = "GET /api/v1/namespaces?watch=1&timeoutSeconds=5";
    let three = futures::future::join_all((0..3).map(|_| world.send(watch))).await;
    assert_eq!(three.iter().map(|answer| answer.code).collect::<Vec<_>>(), [200, 200, 429]);
    let (mine, other) = futures::future::join(world.send(watch), world.send(&format!("@ann {watch}"))).await;
    assert_eq!((mine.code, other.code), (200, 403), "ended watches count no more; others count for themselves");
}

#[tokio::test(start_paused = true)]
async fn clients_choose_how_long_they_wait() {
    let late = "configmaps?resourceVersion=9999";
    check(&format!(
        r#"
        > GET /api/v1/{late}&timeout=1s
        < 504 reason="Timeout" message="Timeout: request did not complete within the allotted timeout"
        > GET /api/v1/{late}&timeout=0s
        < 504 message~large
        > GET /api/v1/{late}&timeout=1h
        < 504 message~large
        > GET /api/v1/{late}&timeout=5
        < 400 message="invalid timeout specified in the request URL - time: missing unit in duration \"5\""
        > GET /api/v1/configmaps?watch=1&timeout=1s&timeoutSeconds=3
        < 200 NONE
        > GET /api/v1/configmaps?watch=1&timeoutSeconds=x
        < 400 message="strconv.ParseInt: parsing \"x\": invalid syntax"
        > GET /api/v1/configmaps?limit=9223372036854775807
        < 200 items=[]
        > GET /api/v1/configmaps?limit=-1
        < 200 items=[]
        "#
    ))
    .await;
}

/// Longer than there is time: the watch must start all the same.
#[tokio::test(start_paused = true)]
async fn a_watch_for_ever_begins() {
    let world = World::new().await;
    let request = Request::get("/api/v1/configmaps?watch=1&timeoutSeconds=9223372036854775807");
    let request = request.body(Default::default()).unwrap();
    let watch = world.call(request, UserInfo::new("admin", &["system:masters"]));
    assert!(tokio::time::timeout(Duration::from_secs(86_400), watch).await.is_err(), "it goes on");
}

/// A body that comes by the byte holds its place no longer than any other request.
#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let world = World::new().await;
    let begun = tokio::time::Instant::now();
    let drip = futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, std::io::Error>(" "), ()))
    });
    let request = Request::post("/api/v1/namespaces/default/configmaps").header("content-type", "application/json");
    let request = request.body(axum::body::Body::from_stream(drip)).unwrap();
    let answer = world.call(request, UserInfo::new("admin", &["system:masters"])).await;
    assert_eq!(answer.code, 504, "{}", answer.body);
    assert!(begun.elapsed() < Duration::from_secs(70), "{:?}", begun.elapsed());
}

/// Whoever hangs up, while being served or while waiting, makes room for others.
#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_leaves_its_place() {
    let limits = Limits { reads_max: 1, waiting_max: 1, ..Limits::default() };
    let world = World::with(|config| config.limits = limits).await;
    let slow = || world.send("GET /api/v1/configmaps?resourceVersion=9999");
    let gone = tokio::time::timeout(Duration::from_secs(1), futures::future::join(slow(), slow())).await;
    assert!(gone.is_err(), "both were under way");
    assert_eq!(world.send("GET /api/v1/configmaps").await.code, 200);
    let two = futures::future::join(slow(), world.send("GET /api/v1/configmaps")).await;
    assert_eq!((two.0.code, two.1.code), (504, 200), "and nobody is left in the queue");
}

/// Everything that is too big, too deep or too much, in the words of Kubernetes.
#[tokio::test(start_paused = true)]
async fn what_is_too_much_is_refused() {
    let mut world = World::new().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let deep = |open: &str, close: &str, levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
    let operations = vec![r#"{"op":"add","path":"/data/k","value":"v"}"#; 10_001].join(",");
    let long = |length: usize| "x".repeat(length);
    let mut rows = vec![
        (format!("POST {maps} {{\"metadata\":{{\"name\":\"{}\"}}}}", long(254)), "422", "must be no more than 253"),
        (
            format!("POST {maps} {{\"metadata\":{{\"name\":\"c\",\"labels\":{{\"k\":\"{}\"}}}}}}", long(64)),
            "422",
            "must be no more than 63",
        ),
        (
            format!("POST {maps} {{\"metadata\":{{\"name\":\"c\",\"annotations\":{{\"k\":\"{}\"}}}}}}", long(262_144)),
            "422",
            "Too long: may not be more than 262144 bytes",
        ),
        (
            format!("POST {maps} {{\"metadata\":{{\"name\":\"c\"}},\"data\":{{\"k\":\"{}\"}}}}", long(1_048_577)),
            "422",
            "Too long",
        ),
        (format!("POST {maps} {{\"metadata\":{{\"name\":\"{}\"}}}}", long(3 << 20)), "413", "limit is 3145728"),
        (format!("POST {maps} {}", deep("[", "]", 100_000)), "400", "exceeded max depth"),
        (format!("POST {maps} [yaml]{}", deep("[", "]", 100_000)), "400", "yaml"),
        (
            format!("PATCH {maps}/c [jsonpatch][{operations}]"),
            "413",
            "The allowed maximum operations in a JSON patch is 10000, got 10001",
        ),
    ];
    for kind in ["merge", "smp", "jsonpatch"] {
        rows.push((format!("PATCH {maps}/c [{kind}]{}", deep(r#"{"data":"#, "}", 10_000)), "400", "error"));
    }
    world.run(&format!("> POST {maps} {{\"metadata\":{{\"name\":\"c\"}},\"data\":{{}}}}\n< 201")).await;
    for (request, code, words) in rows {
        let answer = world.send(&request).await;
        let shown = &request[..request.len().min(100)];
        assert_eq!(answer.code.to_string(), code, "{shown}: {}", &answer.body[..answer.body.len().min(500)]);
        assert!(
            words == "error" || answer.body.contains(words),
            "{shown}: {}",
            &answer.body[..answer.body.len().min(500)]
        );
    }
}

/// Kubernetes does not unpack request bodies, and neither do we: a small one could become a huge one.
#[tokio::test(start_paused = true)]
async fn packed_bodies_are_not_unpacked() {
    let world = World::new().await;
    let request = Request::post("/api/v1/namespaces/default/configmaps").header("content-encoding", "gzip");
    let request = request.header("content-type", "application/json").body(vec![0x1f, 0x8b, 8, 0].into()).unwrap();
    let answer = world.call(request, UserInfo::new("admin", &["system:masters"])).await;
    assert_eq!(answer.code, 400);
    assert!(answer.body.contains(r"invalid character '\\x1f' looking for beginning of value"), "{}", answer.body);
}

/// A watcher that reads slower than the fleet changes is told to list again, and can go on from there.
#[tokio::test(start_paused = true)]
async fn a_watcher_that_falls_behind_begins_anew() {
    let store = Arc::new(MemoryStore::with_limits(LogLimits { events_max: 8, bytes_max: 1 << 20 }));
    let world = World::with(|config| config.store = store).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let at = |answer: &str| {
        let list: serde_json::Value = serde_json::from_str(answer).expect("JSON");
        list["metadata"]["resourceVersion"].as_str().expect("a version").to_string()
    };
    let before = at(&world.send(&format!("GET {maps}")).await.body);
    let watch = format!("{maps}?watch=1&timeoutSeconds=1&resourceVersion={before}");
    let request = Request::get(&watch).body(Default::default()).unwrap();
    let stream = world.stream(request, UserInfo::new("admin", &["system:masters"])).await;
    for number in 0..20 {
        world.send(&format!(r#"POST {maps} {{"metadata":{{"name":"c{number}"}}}}"#)).await;
    }
    // Only now it reads.
    let body = stream.collect().await.expect("a whole body").to_bytes();
    let body = String::from_utf8_lossy(&body);
    let last: serde_json::Value = serde_json::from_str(body.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["type"], &last["object"]["code"]), (&"ERROR".into(), &410.into()), "{body}");
    assert_eq!(last["object"]["reason"], "Expired", "{body}");
    let list = world.send(&format!("GET {maps}")).await.body;
    let again = format!("{maps}?watch=1&timeoutSeconds=1&resourceVersion={}", at(&list));
    let (later, made) = futures::future::join(
        world.send(&format!("GET {again}")),
        world.send(&format!(r#"POST {maps} {{"metadata":{{"name":"new"}}}}"#)),
    )
    .await;
    assert_eq!((list.matches(r#""name":"c"#).count(), made.code), (20, 201));
    assert!(later.body.contains(r#""type":"ADDED""#) && later.body.contains(r#""name":"new""#), "{}", later.body);
}

/// Names that a client thinks up are not counted one by one: they would fill the memory.
#[tokio::test(start_paused = true)]
async fn metrics_count_what_is_served() {
    let world = World::new().await;
    for number in 0..3 {
        world.send(&format!("@ann GET /apis/made.up{number}/v1/things{number}")).await;
        let method = http::Method::from_bytes(format!("ODD{number}").as_bytes()).unwrap();
        let request = Request::builder().method(method).uri("/x").body(Default::default()).unwrap();
        world.call(request, UserInfo::anonymous()).await;
    }
    let metrics = world.send("GET /metrics").await.body;
    assert!(!metrics.contains("made.up") && !metrics.contains("things") && !metrics.contains("odd"), "{metrics}");
    assert!(
        metrics.contains(r#"apiserver_request_total{verb="other",group="",resource="",code="403"} 3"#),
        "{metrics}"
    );
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
