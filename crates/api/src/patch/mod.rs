//! The patch types besides server-side apply: JSON patch, merge patch, strategic merge patch.
//!
//! All three take the stored object and give the object to decode; none of them knows whether the result is legal.

mod json;
mod merge;
mod strategic;
pub(crate) mod words;

pub use json::{json_patch, json_patch_problems};
pub use merge::{merge_patch, strategic_patch_body};
pub use strategic::strategic_merge;
pub use words::json_error;
