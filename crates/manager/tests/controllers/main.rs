//! The controllers against a real API server over a memory store, all in one thread and on a clock that jumps.

mod certificates;
mod clocks;
mod cluster_roles;
mod garbage;
mod handover;
mod hosts;
mod namespaces;
mod nodes;
mod world;
