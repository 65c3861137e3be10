//! A Kubernetes API over any Store.

pub mod authz;
pub mod bootstrap;
pub mod identity;
pub mod kubeconfig;
pub mod listen;
pub mod pki;
pub mod tokens;

pub use identity::UserInfo;
