//! A server that is asked whatever comes in.

use std::cell::RefCell;
use std::sync::Arc;

use axum::body::Body;
use backstay_apiserver::{ApiServer, Config, UserInfo, as_user};
use backstay_store::{MemoryStore, Store};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Limited};
use tower::ServiceExt;

/// After so many requests, a server begins anew: an input should show the same again.
const REQUESTS_MAX: usize = 64;
/// What is read of an answer.
const ANSWER_BYTES_MAX: usize = 8 << 20;

struct World {
    runtime: tokio::runtime::Runtime,
    router: axum::Router,
    asked: usize,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

impl World {
    fn new() -> Self {
        // Time stands still but for what is waited for, so that nothing takes long.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let mut config = Config::new(Arc::new(MemoryStore::new()) as Arc<dyn Store>);
        config.disabled_admission_plugins = vec!["ServiceAccount".into()];
        let server = ApiServer::new(config).expect("known plugins");
        runtime.block_on(server.bootstrap()).expect("an empty store takes everything");
        let world =
            Self { runtime, router: as_user(server.router(), UserInfo::new("admin", &["system:masters"])), asked: 0 };
        for (path, body) in [
            ("/api/v1/namespaces/default/configmaps", r#"{"metadata":{"name":"c"},"data":{"a":"1"}}"#),
            ("/api/v1/namespaces/default/configmaps", r#"{"metadata":{"name":"d","labels":{"a":"b"}}}"#),
            (
                "/apis/apps/v1/namespaces/default/daemonsets",
                r#"{"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
            ),
        ] {
            let request = Request::post(path).header("content-type", "application/json").body(Body::from(body));
            assert_eq!(world.answer(request.expect("a request")), 201);
        }
        world
    }

    /// Reads the answer to its end.
    fn answer(&self, request: Request<Body>) -> u16 {
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.expect("routers do not fail");
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let panicked = b"caused apiserver to panic";
            assert!(!body.windows(panicked.len()).any(|part| part == panicked), "a handler panicked");
            status
        })
    }
}

/// Sends what the bytes say: method and target, headers, an empty line, the body.
pub fn ask(data: &[u8]) {
    let Some(request) = request(data) else { return };
    WORLD.with_borrow_mut(|kept| {
        let world = kept.get_or_insert_with(World::new);
        world.answer(request);
        world.asked += 1;
        if world.asked == REQUESTS_MAX {
            *kept = None;
        }
    });
}

fn request(data: &[u8]) -> Option<Request<Body>> {
    let end = data.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, body) = (&data[..end], &data[end + 2..]);
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let space = first.iter().position(|byte| *byte == b' ')?;
    let method = Method::from_bytes(&first[..space]).ok()?;
    let uri = Uri::try_from(&first[space + 1..]).ok()?;
    let mut request = Request::new(Body::from(body.to_vec()));
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}
