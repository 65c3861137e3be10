//! The manager against a small API server on a paused clock: whole stories, with faults.

mod fake;
mod leases;
mod stories;
