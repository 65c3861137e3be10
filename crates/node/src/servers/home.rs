//! Goes back to the server that this node would rather ask, once that has been well for a while: after a server has been
//! away, its nodes come back to it one by one, and the others have no more to do than before.

use std::time::Duration;

use backstay_api::Entropy;
use futures::future;
use http::Method;

use super::{Server, Servers, below};
use crate::client::request;

const LOOK_EVERY: Duration = Duration::from_secs(15);
/// A server that does not say in this time that it is well is not.
const PATIENCE: Duration = Duration::from_secs(5);
/// A server has been well for a while when it was so often in a row, any number from the first to the second: within two to
/// ten minutes, so that 5,000 nodes do not come back all at once, and not to one that only seems to be back.
const ENOUGH: (u32, u32) = (8, 40);

/// For ever.
pub(crate) async fn go_home(servers: Servers, entropy: Entropy) {
    let draw = || ENOUGH.0 + below((ENOUGH.1 - ENOUGH.0 + 1) as usize, &entropy) as u32;
    let mut enough = draw();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let before = servers.before();
        let well = future::join_all(before.iter().map(is_well)).await;
        let well: Vec<Server> =
            before.into_iter().zip(well).filter_map(|(server, well)| well.then_some(server)).collect();
        if servers.looked(&well, enough) {
            enough = draw();
        }
    }
}

/// Whether it says that it can serve: that it answers is not enough, it may be cut off from the state.
async fn is_well(server: &Server) -> bool {
    let Ok(request) = request(Method::GET, "/readyz", "", Vec::new()) else { return false };
    let answer = tokio::time::timeout(PATIENCE, server.client.request_text(request)).await;
    matches!(answer, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

    use axum::body::Body;
    use http::{Request, Response};
    use kube::Client;
    use tower::service_fn;

    use super::*;
    use crate::client::Api;

    /// What a server does: serves, answers that it cannot, says nothing.
    const SERVES: u8 = 0;
    const UNABLE: u8 = 1;
    const SILENT: u8 = 2;

    #[derive(Clone, Default)]
    struct Pretended {
        does: Arc<AtomicU8>,
        looks: Arc<AtomicU32>,
    }

    impl Pretended {
        fn server(&self, url: &str) -> Server {
            let this = self.clone();
            let service = service_fn(move |request: Request<kube::client::Body>| {
                let this = this.clone();
                async move {
                    let does = this.does.load(Ordering::SeqCst);
                    if request.uri().path() == "/readyz" {
                        this.looks.fetch_add(1, Ordering::SeqCst);
                    }
                    if does == SILENT {
                        return future::pending().await;
                    }
                    let (code, body) = if does == SERVES { (200, "{}") } else { (503, "cut off") };
                    Ok::<_, Infallible>(Response::builder().status(code).body(Body::from(body)).unwrap())
                }
            });
            Server { url: Some(url.to_string()), client: Client::new(service, "default") }
        }

        fn set(&self, does: u8) {
            self.does.store(does, Ordering::SeqCst);
        }
    }

    /// How long after it is back the first server is asked again, with an entropy that always says this; in looks.
    async fn looks_until_home(says: u64, away: u8) -> u32 {
        let (first, second) = (Pretended::default(), Pretended::default());
        let servers = Servers::in_order(vec![first.server("first"), second.server("second")]);
        let api = Api::new(servers.clone());
        let going = tokio::spawn(go_home(servers.clone(), Entropy::new(move || says)));
        first.set(away);
        while servers.url().as_deref() == Some("first") {
            let _ = api.get("/x").await;
        }
        // However long it is away.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(servers.url().as_deref(), Some("second"));
        first.set(SERVES);
        let seen = first.looks.load(Ordering::SeqCst);
        while servers.url().as_deref() == Some("second") {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let looks = first.looks.load(Ordering::SeqCst) - seen;
        // Nobody is looked at any more.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(first.looks.load(Ordering::SeqCst) - seen, looks);
        assert_eq!(second.looks.load(Ordering::SeqCst), 0);
        going.abort();
        looks
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_go_back_one_by_one() {
        for (says, away, looks) in [(0, SILENT, 8), (0, UNABLE, 8), (32, SILENT, 40), (33, UNABLE, 8), (5, UNABLE, 13)]
        {
            assert_eq!(looks_until_home(says, away).await, looks, "{says}");
        }
    }
}
