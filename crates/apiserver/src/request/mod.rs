//! What a request asks for: path, verb, parameters, options.

pub mod body;
pub mod info;
pub mod options;
pub mod query;

pub use info::{Intent, RequestInfo, Target, Verb};
pub use query::Query;
