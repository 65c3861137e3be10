//! What the tests of the engine have in common.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod etcd;
#[path = "../../../backstay/tests/support/needs.rs"]
#[allow(clippy::duplicate_mod, reason = "tests of the binary use it beside their own")]
pub mod needs;
pub mod proxy;
pub mod store;
pub mod tls;

pub use etcd::Etcd;
