//! The DaemonSet planner: upstream's cases as rows, the plan beside a plain recomputation, random fleets.

mod history_rows;
mod manage_rows;
mod placement_rows;
mod random;
mod reference;
mod rolling_rows;
mod template_rows;
mod world;

use expect_test::Expect;
use world::World;

/// Plans once for the world and compares the actions, the reasons to wait and the time to look again.
fn check(world: &str, expected: Expect) {
    let mut world = World::parse(world);
    let plan = world.plan();
    expected.assert_eq(&world::describe(&plan, world.now));
}

/// Syncs once, and compares how many pods were created and deleted, and how many events told of pods that had ended.
fn check_counts(world: &str, expected: (usize, usize, usize)) {
    let mut world = World::parse(world);
    let (created, deleted) = world.sync();
    assert_eq!((created, deleted, world.events), expected);
}
