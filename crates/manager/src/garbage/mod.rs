//! Drives garbage collection: watches the metadata of everything that can be deleted, and carries out what the graph of
//! owners asks for.
//!
//! One task owns the graph. Deletes run as tasks of their own, many at a time; what they did is heard from the watches.
//! Source of the rules: `kube-controller-manager`'s garbage collector. Events are left alone, as there.

mod driver;
mod execute;
mod monitors;

pub use driver::run;
