//! Drives pod garbage collection: pods of lost nodes, deleted pods that no node will confirm, too many finished ones.
//!
//! The pods are those that other controllers hold too; all of them are looked at every twenty seconds at most, and only
//! if anything has changed.

mod driver;
mod remove;

pub use driver::run;
