//! A Kubernetes API over any Store.

pub mod identity;

pub use identity::UserInfo;
