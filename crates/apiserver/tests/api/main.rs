//! The whole API in one process, over the memory store, on a virtual clock. Each test is a script of requests and what
//! they must answer; only [`script`] knows how to send them.

mod access;
mod concurrency;
mod custom;
mod definitions;
mod deleting;
mod limits;
mod listing;
mod pods;
mod protobuf;
mod script;
mod tokens;
mod undone;
mod upstream;
mod watching;
mod wire;
mod writing;
