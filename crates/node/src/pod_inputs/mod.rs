//! What a pod's containers are given: environment and volumes, worked out purely from the pod, the objects it refers to
//! and the facts of its node.

pub mod credentials;
pub mod env;
pub mod fields;
pub mod objects;
pub mod resources;
pub mod sandbox;
pub mod security;
pub mod sysctls;
pub mod volumes;

pub use fields::NodeFacts;
pub use objects::{Objects, Reference};
