//! Lists: pages, selectors, the past, forms.

use crate::script::{World, check};
use http::Request;

const FIVE: &str = r#"
    > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"a","labels":{"x":"1"}}}
    < 201
    > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"b","labels":{"x":"2"}}}
    < 201
    > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c","labels":{"x":"1"}}}
    < 201
    > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"d"}}
    < 201
    > POST /api/v1/namespaces/kube-system/configmaps {"metadata":{"name":"a"}}
    < 201
"#;

async fn check_five(script: &str) {
    check(&format!("{FIVE}{script}")).await;
}

#[tokio::test(start_paused = true)]
async fn pages_show_one_moment() {
    check_five(
        r#"
        > GET /api/v1/configmaps?limit=2
        < 200 items.*.metadata.name=["a","b"] metadata.remainingItemCount=3 metadata.continue:=t metadata.resourceVersion:=v items.0.kind=null
        > DELETE /api/v1/namespaces/default/configmaps/d
        < 200
        > PATCH /api/v1/namespaces/default/configmaps/c [merge]{"data":{"late":"1"}}
        < 200
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"e"}}
        < 201
        > GET /api/v1/configmaps?limit=2&continue=${t}
        < 200 items.*.metadata.name=["c","d"] items.0.data=null metadata.resourceVersion="${v}" metadata.continue:=t
        > GET /api/v1/configmaps?continue=${t}
        < 200 items.*.metadata.namespace=["kube-system"] metadata.continue=null metadata.remainingItemCount=null
        > GET /api/v1/configmaps?continue=${t}&resourceVersion=3
        < 400 message~continue
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn selectors_choose() {
    check_five(
        r#"
        > GET /api/v1/configmaps?labelSelector=x%20in%20(1,3)
        < 200 items.*.metadata.name=["a","c"]
        > GET /api/v1/configmaps?labelSelector=x=1&limit=1
        < 200 items.*.metadata.name=["a"] metadata.remainingItemCount=null metadata.continue:=t
        > GET /api/v1/configmaps?labelSelector=x=1&limit=1&continue=${t}
        < 200 items.*.metadata.name=["c"] metadata.continue=null
        > GET /api/v1/configmaps?fieldSelector=metadata.name=a
        < 200 items.*.metadata.namespace=["default","kube-system"]
        > GET /api/v1/namespaces/default/configmaps?fieldSelector=metadata.name=a,metadata.namespace!=default
        < 200 items=[]
        > GET /api/v1/namespaces?fieldSelector=metadata.name=default
        < 200 items.*.metadata.name=["default"]
        > GET /api/v1/configmaps?fieldSelector=data.x=1
        < 400 message~data.x
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_past_can_be_seen_as_far_as_it_is_kept() {
    let mut world = World::new().await;
    world
        .run(&format!(
            r#"{FIVE}
            > GET /api/v1/namespaces/default/configmaps
            < 200 metadata.resourceVersion:=v
            > DELETE /api/v1/namespaces/default/configmaps/a
            < 200
            > PATCH /api/v1/namespaces/default/configmaps/b [merge]{{"data":{{"k":"v"}}}}
            < 200
            > GET /api/v1/namespaces/default/configmaps?resourceVersion=${{v}}&resourceVersionMatch=Exact
            < 200 items.*.metadata.name=["a","b","c","d"] items.1.data=null metadata.resourceVersion="${{v}}"
            > GET /api/v1/namespaces/default/configmaps?resourceVersion=${{v}}
            < 200 items.*.metadata.name=["b","c","d"]
            > GET /api/v1/namespaces/default/configmaps?limit=1
            < 200 metadata.continue:=t
            > GET /api/v1/namespaces/default/configmaps?resourceVersion=99999
            < 504 reason="Timeout" details.retryAfterSeconds=1
            "#
        ))
        .await;
    backstay_store::Store::compact(&*world.store, u64::MAX).await.expect("compaction");
    world
        .run(
            r#"
            > GET /api/v1/namespaces/default/configmaps?resourceVersion=${v}&resourceVersionMatch=Exact
            < 410 reason="Expired"
            > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"z"}}
            < 201
            > GET /api/v1/namespaces/default/configmaps?watch=1&resourceVersion=${v}&timeoutSeconds=1
            < 200 ERROR Expired
            "#,
        )
        .await;
}

/// What is kept for the next page of one list must not answer another list of the same resource version.
#[tokio::test(start_paused = true)]
async fn the_past_of_one_namespace_is_not_that_of_another() {
    let mut world = World::new().await;
    world.run(FIVE).await;
    world
        .run(
            r#"
            > POST /api/v1/namespaces/kube-system/configmaps {"metadata":{"name":"x"}}
            < 201
            > POST /api/v1/namespaces/kube-system/configmaps {"metadata":{"name":"y"}}
            < 201 metadata.resourceVersion:=v
            > DELETE /api/v1/namespaces/kube-system/configmaps/x
            < 200
            > GET /api/v1/namespaces/kube-system/configmaps?resourceVersion=${v}&resourceVersionMatch=Exact&limit=1
            < 200 items.*.metadata.name=["a"] metadata.continue:=t
            > GET /api/v1/namespaces/kube-system/configmaps?continue=${t}
            < 200 items.*.metadata.name=["x","y"] metadata.resourceVersion="${v}"
            > GET /api/v1/namespaces/default/configmaps?resourceVersion=${v}&resourceVersionMatch=Exact&limit=2
            < 200 items.*.metadata.name=["a","b"]
            "#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_in_the_wanted_form() {
    let mut world = World::new().await;
    world.run(FIVE).await;
    let forms = [
        ("application/json;as=Table;v=v1;g=meta.k8s.io", r#""kind":"Table""#),
        ("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", r#""kind":"PartialObjectMetadataList""#),
        ("application/yaml", "kind: ConfigMapList"),
        ("application/vnd.kubernetes.protobuf,application/json", r#""kind":"ConfigMapList""#),
        ("text/html", "406: Not Acceptable"),
    ];
    for (accept, expected) in forms {
        let request = Request::get("/api/v1/configmaps").header("accept", accept).body(Default::default()).unwrap();
        let answer = world.call(request, backstay_apiserver::UserInfo::new("admin", &["system:masters"])).await;
        assert!(answer.body.contains(expected), "{accept}\n{}", answer.body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_scale_has_columns_of_its_own() {
    let mut world = World::new().await;
    world
        .run(
            r#"
            > POST /apis/apps/v1/namespaces/default/deployments {"metadata":{"name":"d"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}
            < 201
            > PATCH /apis/apps/v1/namespaces/default/deployments/d/status [merge]{"status":{"replicas":1}}
            < 200
            "#,
        )
        .await;
    let request = Request::get("/apis/apps/v1/namespaces/default/deployments/d/scale")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Default::default())
        .unwrap();
    let answer = world.call(request, backstay_apiserver::UserInfo::new("admin", &["system:masters"])).await;
    let table: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let columns = table["columnDefinitions"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap());
    assert_eq!(columns.collect::<Vec<_>>(), ["Name", "Desired", "Available", "Age"]);
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[..3], [serde_json::json!("d"), 2.into(), 1.into()]);
    assert!(cells[3].as_str().is_some_and(|age| age.ends_with('s')), "{}", cells[3]);
}

/// It comes in parts, and is the same list.
#[tokio::test(start_paused = true)]
async fn a_long_list_is_whole() {
    let mut world = World::new().await;
    let text = "x".repeat(100_000);
    for number in 0..25 {
        let body = format!(r#"{{"metadata":{{"name":"c{number:02}"}},"data":{{"k":"{text}"}}}}"#);
        world.run(&format!("> POST /api/v1/namespaces/default/configmaps {body}\n< 201")).await;
    }
    let answer = world.send("GET /api/v1/namespaces/default/configmaps").await;
    assert_eq!(answer.headers.get("content-length"), None);
    let list: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    let items = list["items"].as_array().expect("items");
    assert_eq!(list["kind"], "ConfigMapList");
    assert!(items.len() >= 25 && items.iter().all(|item| item["kind"].is_null()), "{}", items.len());
    let ours: Vec<_> = items.iter().filter(|item| item["data"]["k"] == text).collect();
    assert_eq!(ours.len(), 25);
    assert_eq!((&ours[0]["metadata"]["name"], &ours[24]["metadata"]["name"]), (&"c00".into(), &"c24".into()));
}

#[tokio::test(start_paused = true)]
async fn a_big_answer_is_compressed_for_those_who_can_read_it() {
    let mut world = World::new().await;
    let text = "x".repeat(200_000);
    let line = format!(
        "POST /api/v1/namespaces/default/configmaps {{\"metadata\":{{\"name\":\"big\"}},\"data\":{{\"k\":\"{text}\"}}}}"
    );
    world.run(&format!("> {line}\n< 201")).await;
    let get = |gzip: &str| {
        Request::get("/api/v1/namespaces/default/configmaps/big")
            .header("accept-encoding", gzip)
            .body(Default::default())
    };
    let admin = || backstay_apiserver::UserInfo::new("admin", &["system:masters"]);
    let plain = world.call(get("identity").unwrap(), admin()).await;
    let small = world.call(get("gzip").unwrap(), admin()).await;
    assert!(plain.body.len() > 200_000 && plain.headers.get("content-encoding").is_none());
    assert_eq!(small.headers["content-encoding"], "gzip");
    assert!(small.body.len() < 20_000, "{}", small.body.len());
}
