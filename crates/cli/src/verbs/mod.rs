//! One file per verb.

pub mod api_resources;
pub mod apply;
pub mod completion;
pub mod create;
pub mod delete;
pub mod describe;
pub mod diff;
pub mod edit;
pub mod events;
pub mod exec;
pub mod get;
pub mod logs;
pub mod metadata;
pub mod patch;
pub mod port_forward;
pub mod rollout;
pub mod set;
pub mod token;
pub mod version;
pub mod wait;
