//! A registry of the test's own: tokens, manifest lists, redirects, transfers that break off or stall.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use backstay_oci::store::architecture;
use serde_json::{Value, json};

use super::digest;

#[derive(Default)]
pub struct Served {
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// What is asked for a token of this account only.
    pub account: Option<&'static str>,
    /// Blobs are sent in parts of this size, and then the connection breaks; 0: they are sent whole.
    pub part: usize,
    /// Of blobs no more than this comes, whatever is asked for; 0: all of it.
    pub until: AtomicUsize,
    /// Where a connection would break, nothing more comes instead.
    pub stalls: bool,
    /// What has been asked for, in order.
    pub seen: Mutex<Vec<String>>,
}

/// Serves on a free port of this machine until the test's process ends.
pub fn serve(make: impl FnOnce(u16) -> Served) -> (u16, Arc<Served>) {
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
    let until = served.until.load(Ordering::SeqCst);
    let limits = [(served.part, served.part), (until, until.saturating_sub(from))];
    let cut = limits.into_iter().filter(|(limit, _)| *limit > 0 && path.starts_with("/elsewhere/"));
    let cut = cut.map(|(_, cut)| cut).min().unwrap_or(usize::MAX);
    send(if from > 0 { "206 Partial Content" } else { "200 OK" }, "", &blob[from..], cut);
    if served.stalls && cut < blob.len() - from {
        // Until whoever asked has left.
        let _ = stream.read(&mut [0]);
    }
    Some(())
}

/// A registry with an image `team/app:v1` of these layers, for this machine, and one for another.
pub fn image(layers: &[Vec<u8>], config: Value) -> Served {
    let config = super::config(layers, config);
    let of = |bytes: &[u8]| json!({ "digest": digest(bytes), "size": bytes.len() });
    let all: Vec<Value> = layers.iter().map(|layer| of(layer)).collect();
    let manifest = json!({ "config": of(&config), "layers": all }).to_string().into_bytes();
    let mut ours = of(&manifest);
    ours["platform"] = json!({ "os": "linux", "architecture": architecture() });
    let other = json!({ "digest": digest(b"other"), "platform": { "os": "linux", "architecture": "other" } });
    let index = json!({ "manifests": [other, ours] }).to_string().into_bytes();
    let mut served = Served::default();
    served.blobs.insert("v1".into(), index.clone());
    for blob in layers.iter().cloned().chain([config, manifest, index]) {
        served.blobs.insert(digest(&blob), blob);
    }
    served
}
