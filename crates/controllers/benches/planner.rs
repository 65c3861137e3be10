//! What one event of one pod costs the planner, by the size of the fleet: flat, but for the logarithm.
//! `cargo bench -p backstay-controllers`.

#[path = "../tests/daemonset/world.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod world;

use divan::Bencher;
use world::World;

fn main() {
    divan::main();
}

/// A pod becomes ready, or is not any more; the plan for the whole DaemonSet is made.
#[divan::bench(args = [100, 1_000, 10_000, 100_000], sample_count = 200)]
fn pod_event(bencher: Bencher, nodes: usize) {
    let mut world = World::fleet("unavailable=10%", nodes);
    world.sync();
    world.ready_all();
    let name = world.pods.keys().nth(nodes / 2).expect("a pod").clone();
    let mut ready = false;
    bencher.bench_local(|| {
        let since = ready.then_some(world.now);
        ready = !ready;
        world.change_pod(&name, |pod| world::set_ready(pod, since));
        divan::black_box(world.plan())
    });
}

/// The same in the middle of an update, half of which is done.
#[divan::bench(args = [100, 1_000, 10_000, 100_000], sample_count = 200)]
fn pod_event_while_rolling(bencher: Bencher, nodes: usize) {
    let mut world = World::fleet("unavailable=1", 0);
    for number in 0..nodes {
        let pod = if number % 2 == 0 { "new ready" } else { "old ready" };
        world.add_line(&format!("n{number:06}: {pod}"));
    }
    let name = world.pods.keys().next().expect("a pod").clone();
    let mut ready = false;
    bencher.bench_local(|| {
        let since = ready.then_some(world.now);
        ready = !ready;
        world.change_pod(&name, |pod| world::set_ready(pod, since));
        divan::black_box(world.plan())
    });
}
