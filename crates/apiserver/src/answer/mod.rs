//! Turns what the registry found into HTTP answers.

pub mod failure;
pub mod list;
pub mod negotiate;
pub mod object;
pub mod partial;
pub mod protobuf;
pub mod send;
pub mod table;

pub use negotiate::{Format, Media, Offer, Shape};
pub use object::Payload;
