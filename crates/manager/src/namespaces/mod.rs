//! Drives the termination of namespaces: deletes what is in them, says what is left, and lets them go.

mod content;
mod driver;
mod terminate;

pub use driver::run;
