//! Label selectors (as text and as objects) and field selectors.

mod fields;
mod labels;
mod parse;

pub use fields::{FieldSelector, FieldTerm};
pub use labels::{LabelSelector, Labels, Operator, Requirement, object_text};
