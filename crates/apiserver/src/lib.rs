//! A Kubernetes API over any Store, as a tower service.
//!
//! A request goes through `pipeline` (limits, identity, permission) to `dispatch`, which finds the resource and
//! calls the `registry` or a `subresources` handler; `answer` turns what they found into bytes. `watch` streams
//! the store's log. [`ApiServer`] holds it all together and is the place to begin.

mod accounts;
mod admission;
mod answer;
mod authn;
pub mod authz;
pub mod bootstrap;
mod call;
mod callers;
pub mod catalog;
mod convert;
mod custom;
mod dispatch;
mod encode;
mod gate;
mod gather;
pub mod identity;
pub mod kubeconfig;
mod leftover;
pub mod listen;
pub mod openapi;
mod pipeline;
pub mod pki;
pub mod pods;
mod problem;
mod registry;
mod request;
pub mod server;
mod services;
mod subresources;
mod system;
mod tls_stream;
pub mod tokens;
pub mod tunnel;
mod unsent;
mod upgrade;
mod upkeep;
mod watch;

pub use admission::UnknownPlugin;
pub use identity::UserInfo;
pub use pods::PodAccess;
pub use server::{ApiServer, Config, Limits, StartError, as_user};
