//! One file per verb.

pub mod rollout;
