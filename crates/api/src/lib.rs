//! Kubernetes objects as Backstay uses them: the facts about every type, and the pure rules over them.
//!
//! An object is a `serde_json::Value`; what is known about its type is data in [`schema`] and [`resources`],
//! which decoding, defaulting, patching, server-side apply, validation, discovery, OpenAPI and tables all read.
//! No I/O, no clock, no randomness: they come in as arguments.

pub mod canonical;
pub mod causes;
pub mod cel;
pub mod crd;
pub mod decode;
pub mod defaults;
pub mod discovery;
pub mod duration;
pub mod go;
mod go_regex;
pub mod ident;
pub mod index;
pub mod inputs;
pub mod json_path;
pub mod managed;
pub mod meta;
pub mod patch;
pub mod pod;
pub mod protobuf;
pub mod quantity;
pub mod resources;
pub mod schema;
pub mod selector;
pub mod servers;
pub mod status;
pub mod strategy;
pub mod table;
pub mod time;
pub mod url;
pub mod validation;

#[cfg(test)]
mod testing;

pub use ident::{GroupVersionKind, ObjectKey};
pub use index::{Index, Pairs};
pub use inputs::{Clock, Entropy};
pub use status::{Reason, Status};
