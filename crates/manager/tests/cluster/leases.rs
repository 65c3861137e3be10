//! Who leads, when requests of candidates for a Lease are late, lost, or in the way of others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backstay_manager::{LeaseConfig, while_leading};
use tokio::sync::oneshot;

use crate::fake::Fault;
use crate::stories::Cluster;

/// What happens to the requests of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Line {
    Fine,
    /// The next write is carried out; the answer comes so late, and no other request after it.
    Late(Duration),
    Dead,
}

/// The first candidate loses its line, in this way and at that moment; the second one takes over. Never do both work.
async fn check_handover(line: Line, lost_after: Duration) {
    let cluster = Cluster::new(0, 11);
    let state = Arc::new(Mutex::new(if lost_after.is_zero() { line } else { Line::Fine }));
    let (client, of_line) = (cluster.fake.client(), state.clone());
    let bad = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (client, state) = (client.clone(), of_line.clone());
        async move {
            let is_write = request.method() != http::Method::GET;
            let line = *state.lock().unwrap();
            if line == Line::Dead {
                std::future::pending::<()>().await;
            }
            let answer = client.send(request).await;
            if let Line::Late(late) = line
                && is_write
            {
                *state.lock().unwrap() = Line::Dead;
                tokio::time::sleep(late).await;
            }
            answer
        }
    });
    let working = Arc::new(Mutex::new((0, 0)));
    let start = |client: kube::Client, identity: &str| {
        let (working, clock, entropy) = (working.clone(), cluster.clock.clone(), cluster.entropy.clone());
        let lease = LeaseConfig::new("kube-system", "m", identity);
        let work = move || {
            let working = working.clone();
            async move {
                let _works = Works::begin(working);
                std::future::pending::<()>().await
            }
        };
        tokio::spawn(while_leading(client, clock, entropy, lease, work, std::future::pending()))
    };
    let first = start(kube::Client::new(bad, "default"), "first");
    tokio::time::sleep(lost_after).await;
    let second = start(cluster.fake.client(), "second");
    *state.lock().unwrap() = line;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*working.lock().unwrap(), (1, 1), "how many work, and worked at most; {line:?}, {lost_after:?}");
    first.abort();
    second.abort();
}

/// One of those who work: how many do, and did at most.
struct Works(Arc<Mutex<(usize, usize)>>);

impl Works {
    fn begin(working: Arc<Mutex<(usize, usize)>>) -> Self {
        let (now, most) = *working.lock().unwrap();
        *working.lock().unwrap() = (now + 1, most.max(now + 1));
        Self(working)
    }
}

impl Drop for Works {
    fn drop(&mut self) {
        self.0.lock().unwrap().0 -= 1;
    }
}

/// Somebody edits the Lease just when it is renewed; and it is to be given up just then.
#[tokio::test(start_paused = true)]
async fn a_lease_that_others_touch_is_kept_and_one_in_the_middle_of_a_renewal_given_up() {
    const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/m";
    let cluster = Cluster::new(0, 14);
    let is_late = Arc::new(Mutex::new(false));
    let (client, late) = (cluster.fake.client(), is_late.clone());
    let line = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (client, late) = (client.clone(), late.clone());
        async move {
            let is_write = request.method() == http::Method::PUT;
            let answer = client.send(request).await;
            if is_write && *late.lock().unwrap() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
            answer
        }
    });
    let begun = Arc::new(AtomicU64::new(0));
    let counted = begun.clone();
    let work = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::pending()
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let (clock, entropy) = (cluster.clock.clone(), cluster.entropy.clone());
    let lease = LeaseConfig::new("kube-system", "m", "first");
    let client = kube::Client::new(line, "default");
    let leads = while_leading(client, clock, entropy, lease, work, async move { drop(stopped.await) });
    let leads = tokio::spawn(leads);
    tokio::time::sleep(Duration::from_secs(20)).await;
    cluster.fake.set_faults(|method, path| match *method == http::Method::PUT && path == LEASE {
        true => Fault::Refuse(409),
        false => Fault::None,
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.fake.set_faults(|_, _| Fault::None);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(begun.load(Ordering::Relaxed), 1, "it never worked anew");
    let renewed = || cluster.fake.get(LEASE).unwrap()["spec"]["renewTime"].clone();
    let before = renewed();
    *is_late.lock().unwrap() = true;
    while renewed() == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.send(()).unwrap();
    leads.await.unwrap();
    assert_eq!(cluster.fake.get(LEASE).unwrap()["spec"]["holderIdentity"], "");
}

/// What counts is when a renewal was sent, for others count from when it was written, not from when the answer came.
#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_makes_no_second_leader() {
    for step in 0..20 {
        let lost_after = Duration::from_millis(30_000 + 100 * step);
        check_handover(Line::Late(Duration::from_millis(7900)), lost_after).await;
    }
    check_handover(Line::Late(Duration::from_secs(25)), Duration::ZERO).await;
}
