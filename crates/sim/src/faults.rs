//! A faulty network between a client and the API server: delays, refusals, lost answers, conflicts, broken watches.
//!
//! All chance comes from one seeded generator, in the order in which requests are made, so that a run can be repeated.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tower::{Service, ServiceExt};

/// How often what goes wrong; each a probability per request (or per watched chunk).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    /// The server answers 503 and has done nothing.
    pub refused: f64,
    /// The server has done its work, but the answer is a 500.
    pub answer_lost: f64,
    /// A replacing write is refused with a conflict that is none.
    pub conflict: f64,
    /// A watch ends after this chunk.
    pub watch_dropped: f64,
    /// The longest delay of a request; each takes a random part of it.
    pub delay_max: Duration,
}

impl Faults {
    pub const NONE: Self =
        Self { refused: 0.0, answer_lost: 0.0, conflict: 0.0, watch_dropped: 0.0, delay_max: Duration::ZERO };

    /// Something goes wrong all the time, and yet everything must converge.
    pub const ROUGH: Self = Self {
        refused: 0.03,
        answer_lost: 0.02,
        conflict: 0.03,
        watch_dropped: 0.02,
        delay_max: Duration::from_millis(40),
    };
}

/// The router behind the faulty network.
#[derive(Clone)]
pub struct Network {
    router: Router,
    faults: Faults,
    random: Arc<Mutex<StdRng>>,
}

/// What will happen to one request, decided when it is made.
struct Fate {
    delay: Duration,
    refused: bool,
    answer_lost: bool,
    conflict: bool,
}

impl Network {
    pub fn new(router: Router, faults: Faults, seed: u64) -> Self {
        Self { router, faults, random: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))) }
    }

    fn draw(&self, probability: f64) -> bool {
        probability > 0.0 && self.random.lock().unwrap_or_else(PoisonError::into_inner).random_bool(probability)
    }

    fn fate(&self, request: &Request<Body>) -> Fate {
        let replaces = [Method::PUT, Method::PATCH].contains(request.method());
        let longest = u64::try_from(self.faults.delay_max.as_micros()).unwrap_or(u64::MAX);
        let micros = match longest {
            0 => 0,
            _ => self.random.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..longest),
        };
        Fate {
            delay: Duration::from_micros(micros),
            refused: self.draw(self.faults.refused),
            answer_lost: request.method() != Method::GET && self.draw(self.faults.answer_lost),
            conflict: replaces && self.draw(self.faults.conflict),
        }
    }

    async fn deliver(self, request: Request<Body>, fate: Fate) -> Response<Body> {
        tokio::time::sleep(fate.delay).await;
        if fate.refused {
            return status(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        }
        if fate.conflict {
            return status(StatusCode::CONFLICT, "Conflict");
        }
        let watches = request.uri().query().is_some_and(|query| query.contains("watch="));
        let answered = self.router.clone().oneshot(request).await;
        let Ok(answer) = answered;
        match (fate.answer_lost, watches) {
            (true, _) => status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            (_, true) => answer.map(|body| self.broken(body)),
            _ => answer,
        }
    }

    /// A stream that may end after any chunk, as a connection that is cut does.
    fn broken(self, body: Body) -> Body {
        let chunks = body.into_data_stream().scan(false, move |ended, chunk| {
            let go_on = !*ended;
            *ended = *ended || self.draw(self.faults.watch_dropped);
            futures::future::ready(go_on.then_some(chunk))
        });
        Body::from_stream(chunks)
    }
}

fn status(code: StatusCode, reason: &str) -> Response<Body> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason,
        "code": code.as_u16(), "message": "a fault of the simulated network",
    });
    let answer = Response::builder().status(code).header("Content-Type", "application/json");
    answer.body(Body::from(body.to_string())).expect("a code and a header that exist")
}

impl<B> Service<Request<B>> for Network
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let request = request.map(Body::new);
        let fate = self.fate(&request);
        let delivered = self.clone().deliver(request, fate);
        Box::pin(async move { Ok(delivered.await) })
    }
}
