//! CustomResourceDefinitions: what they must look like, and the resources they make.
//!
//! A definition that is established ([`status`] says when) compiles into one [`CustomResource`] per served version:
//! its place in discovery, its type for decoding and server-side apply, its defaults, validation, columns and
//! subresources. Conversion between versions changes `apiVersion` and nothing else (strategy `None`); webhooks are not
//! called.

mod approval;
mod collections;
mod compile;
mod defaulting;
mod definition;
mod names;
mod props;
mod scale;
mod simple_path;
mod structural;
mod types;
mod validations;
mod value;

pub use self::compile::{CustomResource, compile};
pub use self::definition::{validate_create, validate_update};
pub use self::names::{CLEANUP_FINALIZER, begin_deletion, continue_deletion, end_deletion, is_established, status};
pub use self::validations::Findings;

#[cfg(test)]
mod tests;
