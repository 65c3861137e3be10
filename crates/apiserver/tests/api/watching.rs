//! Watches: where they begin, what they show, how they end.

use crate::script::check;

const SOME: &str = r#"
    > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"a","labels":{"x":"1"}}}
    < 201 metadata.resourceVersion:=v
    > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"b"}}
    < 201
    > PATCH /api/v1/namespaces/default/configmaps/a [merge]{"metadata":{"labels":{"x":"2"}}}
    < 200
    > PATCH /api/v1/namespaces/default/configmaps/b [merge]{"metadata":{"labels":{"x":"1"}}}
    < 200
    > DELETE /api/v1/namespaces/default/configmaps/b
    < 200
"#;

async fn check_some(query: &str, expected: &str) {
    check(&format!(
        "{SOME}\n> GET /api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1&{query}\n< {expected}"
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_beginning_is_the_clients_choice() {
    check_some("resourceVersion=${v}", "200 ADDED b, MODIFIED a, MODIFIED b, DELETED b").await;
    check_some("", "200 ADDED a").await;
    check_some("resourceVersion=0", "200 ADDED a").await;
    check_some("resourceVersion=99999", "200 NONE").await;
    check_some(
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        "200 ADDED a, BOOKMARK",
    )
    .await;
    check_some("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "200 ADDED a").await;
    check_some("sendInitialEvents=false&resourceVersionMatch=NotOlderThan", "200 NONE").await;
    check_some("sendInitialEvents=true", "422 reason=\"Invalid\"").await;
    check_some("resourceVersion=x", "400 reason=\"BadRequest\"").await;
}

#[tokio::test(start_paused = true)]
async fn objects_enter_and_leave_the_view_of_a_selector() {
    check_some("resourceVersion=${v}&labelSelector=x=1", "200 DELETED a, ADDED b, DELETED b").await;
    check_some("resourceVersion=${v}&labelSelector=x!=1", "200 ADDED b, ADDED a, DELETED b").await;
    check_some("resourceVersion=${v}&fieldSelector=metadata.name=b", "200 ADDED b, MODIFIED b, DELETED b").await;
    check_some("resourceVersion=${v}&labelSelector=y", "200 NONE").await;
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_and_before_the_end() {
    let path = "/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=1&allowWatchBookmarks=true";
    check(&format!("> GET {path}&timeoutSeconds=3\n< 200 BOOKMARK")).await;
    check(&format!("> GET {path}&timeoutSeconds=130\n< 200 BOOKMARK, BOOKMARK, BOOKMARK")).await;
}

#[tokio::test(start_paused = true)]
async fn a_table_tells_its_columns_once() {
    let world = crate::script::World::new().await;
    for name in ["a", "b"] {
        world
            .send(&format!("POST /api/v1/namespaces/default/configmaps {{\"metadata\":{{\"name\":\"{name}\"}}}}"))
            .await;
    }
    let request = http::Request::get("/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Default::default())
        .unwrap();
    let answer = world.call(request, backstay_apiserver::UserInfo::new("admin", &["system:masters"])).await;
    let columns: Vec<bool> = answer.body.lines().map(|line| line.contains(r#""columnDefinitions":[{"#)).collect();
    assert_eq!(columns, [true, false], "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_in_the_other_group_sees_its_own_form() {
    check(
        r#"
        > POST /api/v1/namespaces/default/events {"metadata":{"name":"e"},"message":"m","involvedObject":{"namespace":"default"}}
        < 201
        > GET /apis/events.k8s.io/v1/namespaces/default/events?watch=1&timeoutSeconds=1
        < 200 object.note="m" object.apiVersion="events.k8s.io/v1"
        "#,
    )
    .await;
}
