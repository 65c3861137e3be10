//! A connection to a server in this process that can be cut, as a network is: without a word.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use futures::StreamExt as _;
use http::Request;
use kube::Client;
use tokio::sync::watch;
use tower::{ServiceExt as _, service_fn};

#[derive(Clone)]
pub struct Link {
    cut: watch::Sender<bool>,
}

impl Link {
    /// A connection to the router, and the client at its other end.
    pub fn to(router: Router) -> (Self, Client) {
        let cut = watch::Sender::new(false);
        let seen = cut.subscribe();
        let service = service_fn(move |request: Request<kube::client::Body>| {
            let (router, mut seen) = (router.clone(), seen.clone());
            async move {
                swallow(&mut seen).await;
                let Ok(answer) = router.oneshot(request.map(Body::new)).await;
                // The answer may be cut off as well, and whatever else comes on the same connection.
                swallow(&mut seen).await;
                let body = answer.map(|body| {
                    let chunks = body.into_data_stream().then(move |chunk| {
                        let mut seen = seen.clone();
                        async move {
                            swallow(&mut seen).await;
                            chunk
                        }
                    });
                    Body::from_stream(chunks)
                });
                Ok::<_, Infallible>(body)
            }
        });
        (Self { cut }, Client::new(service, "default"))
    }

    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// What was under way is lost; what is asked from now on is answered.
    pub fn heal(&self) {
        self.cut.send_replace(false);
    }
}

/// Never returns while the connection is cut, nor afterwards.
async fn swallow(seen: &mut watch::Receiver<bool>) {
    if *seen.borrow_and_update() {
        std::future::pending().await
    }
}
