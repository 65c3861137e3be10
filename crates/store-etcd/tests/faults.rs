//! Answers that get lost, members that die, an etcd that is full, certificates that do not fit.

mod support;

use std::sync::Arc;

use backstay_store::front::LogLimits;
use backstay_store::{Operation, Range, Store, StoreError};
use backstay_store_etcd::{EtcdConfig, EtcdError, EtcdStore};
use support::Etcd;
use support::proxy::Proxy;
use support::store::{PATIENCE, create, encoded, entropy, key, open, open_by};
use support::tls::{self, Authority};

/// The connection breaks after etcd has carried out a commit, before its answer arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_looked_up() {
    let Some(etcd) = Etcd::start("a_commit_whose_answer_is_lost_is_looked_up") else { return };
    let here = open(&etcd, "/a").await;
    let proxy = Proxy::to(&etcd.endpoint());
    let away = Arc::new(open_by(vec![proxy.endpoint()], "/a").await);
    let begun = |operation: Operation| {
        let away = away.clone();
        tokio::spawn(async move { away.commit(key("a"), operation).await.map(|entry| entry.revision) })
    };
    // Until the other server shows a state of it that is newer.
    let carried_out = async |before: u64| {
        let shown = async {
            while here.snapshot().revision() == before {
                here.catch_up().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, shown).await.expect("etcd does it");
    };
    let mut expected = 0;
    for step in ["create", "update", "delete"] {
        away.catch_up().await.unwrap();
        here.catch_up().await.unwrap();
        let before = here.snapshot().revision();
        proxy.mute();
        let commit = begun(match step {
            "create" => Operation::Create { value: encoded("one") },
            "update" => Operation::Update { value: encoded("two"), expected },
            _ => Operation::Delete { last: encoded("last"), expected },
        });
        carried_out(before).await;
        proxy.cut();
        proxy.heal();
        let revision = tokio::time::timeout(PATIENCE, commit).await.expect("it ends").unwrap().expect(step);
        assert_eq!(revision, here.snapshot().revision(), "{step}");
        expected = revision;
    }
    // It stays cut: nobody can know.
    away.catch_up().await.unwrap();
    let before = here.snapshot().revision();
    proxy.mute();
    let commit = begun(Operation::Create { value: encoded("three") });
    carried_out(before).await;
    proxy.cut();
    let lost = tokio::time::timeout(PATIENCE, commit).await.expect("it ends").unwrap();
    assert!(matches!(lost, Err(StoreError::Uncertain { .. })), "{lost:?}");
    assert!(here.snapshot().get(&key("a")).is_some());
}

/// Each member in its turn, the leader among them: the others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_of_three_may_die() {
    let Some(mut members) = Etcd::cluster("one_member_of_three_may_die", 3) else { return };
    let endpoints: Vec<String> = members.iter().map(Etcd::endpoint).collect();
    let store = open_by(endpoints.clone(), "/a").await;
    let mut written = Vec::new();
    for (dead, member) in members.iter_mut().enumerate() {
        member.kill();
        for number in 0..20 {
            let mut attempts = 0;
            let name = async {
                loop {
                    attempts += 1;
                    let name = format!("d{dead}-{number}-{attempts}");
                    match create(&store, &name).await {
                        Ok(_) => return name,
                        Err(StoreError::Unavailable { .. } | StoreError::Uncertain { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            };
            written.push(tokio::time::timeout(PATIENCE, name).await.expect("the others go on"));
        }
        store.catch_up().await.expect("the others answer");
        assert!(member.resume());
    }
    let fresh = open_by(endpoints, "/a").await;
    let lost: Vec<&String> = written.iter().filter(|name| fresh.snapshot().get(&key(name)).is_none()).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// A member that is alive and tells nothing, as one whose disk hangs: the others are asked, and listened to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_tells_nothing_is_left() {
    let Some(etcd) = Etcd::start("a_member_that_tells_nothing_is_left") else { return };
    let here = open(&etcd, "/a").await;
    let proxy = Proxy::to(&etcd.endpoint());
    let away = open_by(vec![proxy.endpoint(), etcd.endpoint()], "/a").await;
    let expected = create(&away, "a").await.expect("the way is open");
    proxy.idle();
    create(&here, "b").await.expect("this way as well");
    here.commit(key("a"), Operation::Delete { last: encoded("last"), expected }).await.expect("as it was");
    let refused = async {
        loop {
            match away.commit(key("a"), Operation::Update { value: encoded("new"), expected }).await {
                Err(StoreError::NotFound { .. }) => return away.snapshot().get(&key("a")),
                Err(StoreError::Unavailable { .. } | StoreError::Uncertain { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let left = tokio::time::timeout(PATIENCE, refused).await.expect("another member answers");
    assert!(left.is_none(), "what is refused as gone is not found any more");
    let seen = async {
        while away.catch_up().await.is_err() {}
        away.snapshot().get(&key("b"))
    };
    let seen = tokio::time::timeout(PATIENCE, seen).await.expect("another member tells");
    assert!(seen.is_some());
}

/// An etcd that was put back to an older state counts on from there. What is in memory is of another history then: nothing
/// is answered from it, and nothing written that could not be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_whose_history_went_back_is_not_followed() {
    let Some(mut etcd) = Etcd::start("an_etcd_whose_history_went_back_is_not_followed") else { return };
    let store = open(&etcd, "/a").await;
    for number in 0..20 {
        create(&store, &format!("old{number}")).await.unwrap();
    }
    let mut watch = store.watch(Range::all("pods"), store.snapshot().revision()).unwrap();
    assert!(etcd.begin_anew());
    let fresh = open(&etcd, "/a").await;
    create(&fresh, "new").await.unwrap();
    let refused = async {
        loop {
            match store.catch_up().await {
                Err(StoreError::Unavailable { reason }) if reason.contains("restart") => return,
                Err(_) => {}
                Ok(()) => panic!("it reads {:?}", store.snapshot().get(&key("new")).map(|entry| entry.revision)),
            }
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("it is noticed");
    let ended = tokio::time::timeout(PATIENCE, watch.next()).await.expect("who watches is told");
    assert!(matches!(ended, Err(StoreError::Unavailable { .. })), "{ended:?}");
    for number in 0..30 {
        create(&fresh, &format!("more{number}")).await.unwrap();
    }
    assert!(store.catch_up().await.is_err(), "also when the numbers have been reached again");
    assert!(matches!(create(&store, "lost").await, Err(StoreError::Unavailable { .. })));
    assert!(fresh.snapshot().get(&key("lost")).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_etcd_is_named() {
    let quota = ["--quota-backend-bytes=2000000".to_string()];
    let Some(etcd) = Etcd::start_with("a_full_etcd_is_named", "http", &quota) else { return };
    let store = open(&etcd, "/a").await;
    let text = "x".repeat(200_000);
    let refused = async {
        for number in 0.. {
            let operation = Operation::Create { value: encoded(&text) };
            if let Err(error) = store.commit(key(&format!("p{number}")), operation).await {
                return error;
            }
        }
        unreachable!("numbers do not end")
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.expect("it becomes full");
    let StoreError::Unavailable { reason } = refused else { panic!("{refused:?}") };
    assert!(reason.contains("etcd is full") && reason.contains("defragment"), "{reason}");
    store.catch_up().await.expect("it can be read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_shown_and_looked_at() {
    let (dir, ours, theirs) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    let (certificate, private) = ours.issue();
    let file = |name: &str, pem: &[u8]| tls::write(dir.path(), name, pem).display().to_string();
    let arguments = [
        format!("--cert-file={}", file("server.crt", &certificate)),
        format!("--key-file={}", file("server.key", &private)),
        format!("--trusted-ca-file={}", file("ca.crt", &ours.pem())),
        "--client-cert-auth".to_string(),
    ];
    let Some(etcd) = Etcd::start_with("certificates_are_shown_and_looked_at", "https", &arguments) else { return };
    let secure = etcd.endpoint();
    let open = async |endpoint: &str, ca: Option<&Authority>, identity: Option<&Authority>| {
        let (ca, identity) = (ca.map(Authority::pem), identity.map(Authority::issue));
        let config = EtcdConfig { endpoints: vec![endpoint.to_string()], ca, identity };
        EtcdStore::open_at(&config, "/a", LogLimits::default(), entropy()).await
    };
    let opening = async {
        loop {
            if let Ok(store) = open(&secure, Some(&ours), Some(&ours)).await {
                return store;
            }
        }
    };
    let store = tokio::time::timeout(PATIENCE, opening).await.expect("they know each other");
    create(&store, "a").await.unwrap();
    let rows = [
        (&ours, None, "etcd does not answer"),
        (&ours, Some(&theirs), "etcd does not answer"),
        (&theirs, Some(&ours), "invalid peer certificate"),
    ];
    for (ca, identity, expected) in rows {
        let refused = open(&secure, Some(ca), identity).await.err();
        let said = refused.map(|error| error.to_string()).unwrap_or_default();
        assert!(said.starts_with("cannot read from etcd") && said.contains(expected), "{said}");
    }
    let refused = open(&secure, None, None).await.err();
    assert!(matches!(refused, Some(EtcdError::NoAuthority { .. })), "{refused:?}");
    let refused = open(&secure.replace("https", "http"), Some(&ours), None).await.err();
    assert!(matches!(refused, Some(EtcdError::NotSecure { .. })), "{refused:?}");
}
