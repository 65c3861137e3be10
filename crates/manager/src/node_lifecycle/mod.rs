//! Drives node lifecycle: watches nodes and their leases, and writes what follows when one is not heard of any more.
//!
//! A renewed lease costs one comparison. A node is looked at when it changes, and when it would be given up if nothing
//! had been heard of it; then it is read again, and the plan made for that state is written.

mod attend;
mod driver;
mod notes;

pub use backstay_controllers::node_lifecycle::GRACE;
pub use driver::run;
