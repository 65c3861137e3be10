//! Many writers at once: nobody's write is lost, and versions only grow.

use futures::future::join_all;
use serde_json::Value;

use crate::script::World;

#[tokio::test(start_paused = true)]
async fn patches_of_many_all_arrive() {
    let world = World::new().await;
    world.send(r#"POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c"}}"#).await;
    let path = "/api/v1/namespaces/default/configmaps/c";
    let answers = join_all((0..50).map(|number| {
        let line = format!(r#"PATCH {path} [merge]{{"data":{{"k{number}":"v"}}}}"#);
        let world = &world;
        async move { world.send(&line).await }
    }))
    .await;
    assert!(answers.iter().all(|answer| answer.code == 200));
    let object: Value = serde_json::from_str(&world.send(&format!("GET {path}")).await.body).unwrap();
    assert_eq!(object["data"].as_object().unwrap().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn of_many_creates_of_one_name_one_wins() {
    let world = World::new().await;
    let line = r#"POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c"}}"#;
    let answers = join_all((0..20).map(|_| world.send(line))).await;
    let count = |code: u16| answers.iter().filter(|answer| answer.code == code).count();
    assert_eq!((count(201), count(409)), (1, 19));
}
