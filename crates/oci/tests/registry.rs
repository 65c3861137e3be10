//! Pulls from a registry that the test serves itself: tokens, manifest lists, redirects, transfers that break off.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use backstay_node::runtime::{Credential, Images as _};
use backstay_oci::StoredImages;
use backstay_oci::registry::Registry;
use backstay_oci::store::{Store, architecture};
use serde_json::json;
use support::digest;

#[derive(Default)]
struct Served {
    blobs: BTreeMap<String, Vec<u8>>,
    /// What is asked for a token of this account only.
    account: Option<&'static str>,
    /// Blobs are sent in parts of this size, and then the connection breaks.
    part: Option<usize>,
    seen: Mutex<Vec<String>>,
}

/// Serves on a free port of this machine until the test's process ends.
fn serve(make: impl FnOnce(u16) -> Served) -> (u16, Arc<Served>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = Arc::new(make(port));
    let shared = served.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let served = shared.clone();
            std::thread::spawn(move || answer(&served, stream, port));
        }
    });
    (port, served)
}

fn answer(served: &Served, mut stream: TcpStream, port: u16) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_string();
    let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        headers.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_string())
        })
    };
    served.seen.lock().unwrap().push(format!("{path} {}", header("range").unwrap_or_default()).trim().to_string());
    let mut send = |status: &str, extra: &str, body: &[u8], cut: usize| {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{extra}\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..cut.min(body.len())]));
    };
    if path.starts_with("/token") {
        let basic = header("authorization").unwrap_or_default();
        let fits = served.account.is_none_or(|account| basic == account);
        send(if fits { "200 OK" } else { "401 Unauthorized" }, "", br#"{"token":"T"}"#, usize::MAX);
        return None;
    }
    if !path.starts_with("/elsewhere/") && header("authorization").as_deref() != Some("Bearer T") {
        let challenge = format!(
            "www-authenticate: Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"s\",scope=\"repository:team/app:pull\"\r\n"
        );
        send("401 Unauthorized", &challenge, b"", 0);
        return None;
    }
    let name = path.rsplit('/').next()?;
    let Some(blob) = served.blobs.get(name) else {
        send("404 Not Found", "", b"", 0);
        return None;
    };
    if path.contains("/blobs/") {
        send("307 Temporary Redirect", &format!("location: /elsewhere/{name}\r\n"), b"", 0);
        return None;
    }
    let from = header("range").and_then(|range| range.strip_prefix("bytes=")?.trim_end_matches('-').parse().ok());
    let from = from.unwrap_or(0usize).min(blob.len());
    let cut = served.part.filter(|_| path.starts_with("/elsewhere/")).unwrap_or(usize::MAX);
    send(if from > 0 { "206 Partial Content" } else { "200 OK" }, "", &blob[from..], cut);
    Some(())
}

/// An image `team/app:v1` for this machine and one for another.
fn image(change: impl FnOnce(&mut Served)) -> Served {
    let layer = support::tar(&[("a", &[7; 3000])]);
    let config = support::config(std::slice::from_ref(&layer), json!({ "User": "5:6" }));
    let of = |bytes: &[u8]| json!({ "digest": digest(bytes), "size": bytes.len() });
    let manifest = json!({ "config": of(&config), "layers": [of(&layer)] }).to_string().into_bytes();
    let mut ours = of(&manifest);
    ours["platform"] = json!({ "os": "linux", "architecture": architecture() });
    let other = json!({ "digest": digest(b"other"), "platform": { "os": "linux", "architecture": "other" } });
    let index = json!({ "manifests": [other, ours] }).to_string().into_bytes();
    let mut served = Served::default();
    served.blobs.insert("v1".into(), index.clone());
    for blob in [layer, config, manifest, index] {
        served.blobs.insert(digest(&blob), blob);
    }
    change(&mut served);
    served
}

/// What came of a pull: the image's reference, or the reason and message of the failure.
async fn pull(name: &str, credentials: &[Credential], change: impl FnOnce(&mut Served)) -> (String, Vec<String>) {
    let (port, served) = serve(|_| image(change));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("images")).unwrap();
    let images = StoredImages { store: store.clone(), registry: Arc::new(Registry::new().unwrap()) };
    let name = name.replace("PORT", &port.to_string());
    let shown = match images.pull(&name, credentials).await {
        Ok(image) => {
            assert_eq!(images.find(&name).await.unwrap().unwrap(), image);
            assert_eq!(image.user, backstay_node::runtime::ImageUser::Id(5));
            assert_eq!(std::fs::read_dir(store.tmp_dir()).unwrap().count(), 0);
            image.reference
        }
        Err(error) => {
            assert!(store.images().unwrap().is_empty());
            format!("{}: {}", error.reason, error.message)
        }
    };
    let seen = served.seen.lock().unwrap().clone();
    (shown.replace(&port.to_string(), "PORT"), seen)
}

fn account(username: &str) -> Credential {
    Credential { username: username.into(), password: "p".into(), ..Credential::default() }
}

const NAME: &str = "127.0.0.1:PORT/team/app:v1";

/// Layers keep their owners, which only root may give.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED a test of registries: it needs root");
    }
    root
}

#[tokio::test]
async fn images_are_fetched_by_token() {
    if !is_root() {
        return;
    }
    let (shown, seen) = pull(NAME, &[], |_| {}).await;
    assert!(shown.starts_with("127.0.0.1:PORT/team/app@sha256:"), "{shown}");
    let tokens = seen.iter().filter(|path| path.starts_with("/token?service=s&scope=repository:team/app:pull")).count();
    assert_eq!(tokens, 1, "{seen:?}");
    // The first account that the registry takes.
    let (shown, _) = pull(NAME, &[account("x"), account("u")], |it| it.account = Some("Basic dTpw")).await;
    assert!(shown.contains("@sha256:"), "{shown}");
    let (shown, _) = pull(NAME, &[account("x")], |it| it.account = Some("Basic dTpw")).await;
    assert!(shown.starts_with("ErrImagePull: ") && shown.contains("pull access denied"), "{shown}");
}

#[tokio::test]
async fn broken_transfers_go_on() {
    if !is_root() {
        return;
    }
    let (shown, seen) = pull(NAME, &[], |it| it.part = Some(2000)).await;
    assert!(shown.contains("@sha256:"), "{shown} {seen:?}");
    assert!(seen.iter().any(|path| path.ends_with("bytes=2000-")), "{seen:?}");
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let check = async |name: &str, change: fn(&mut Served), expected: &str| {
        let (shown, _) = pull(name, &[], change).await;
        assert!(shown.starts_with(expected.split('|').next().unwrap()), "{shown}");
        assert!(expected.split('|').all(|part| shown.contains(part)), "{shown}");
    };
    check("127.0.0.1:PORT/team/app:v2", |_| {}, "ErrImagePull: |not found").await;
    check("127.0.0.1:1/team/app", |_| {}, "RegistryUnavailable: |cannot reach http://127.0.0.1:1/").await;
    check("team/App", |_| {}, "InvalidImageName: ").await;
    check(NAME, |it| *it.blobs.get_mut("v1").unwrap() = b"{}".to_vec(), "ErrImagePull: ").await;
    let damage: fn(&mut Served) = |it| {
        let layer = it.blobs.values_mut().find(|blob| blob.len() > 3000).unwrap();
        *layer.last_mut().unwrap() = 1;
    };
    check(NAME, damage, "ErrImagePull: |sent something else than sha256:").await;
    let other: fn(&mut Served) = |it| {
        *it.blobs.get_mut("v1").unwrap() =
            br#"{"manifests":[{"platform":{"os":"windows","architecture":"x"}}]}"#.to_vec();
    };
    check(NAME, other, "ErrImagePull: |has no image for linux/").await;
}
