//! Drives the DaemonSet planner: feeds its views from the watches, carries its actions out, writes its status.
//!
//! One task owns everything and never waits for the network: writes run as tasks of their own, and their ends come back
//! like news. Work per piece of news follows what it touches: the views it concerns, and in them one node.

mod driver;
mod execute;
mod fleet;
mod notes;

pub use driver::{Inputs, run};
