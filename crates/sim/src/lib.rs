//! The whole cluster in one thread from one seed.

pub mod check;
pub mod faults;
pub mod time;
