//! One file per verb.

pub mod describe;
pub mod get;
pub mod rollout;
