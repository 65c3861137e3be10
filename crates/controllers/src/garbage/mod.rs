//! Garbage collection: what becomes of objects whose owners go, and of owners that wait for their dependents.
//!
//! [`Graph`] holds every object's identity, owners and deletion state, fed by watches; [`Graph::plan`] says what to do
//! about one object. Work per change follows the object's own owners and dependents. Source: the owner reference and
//! finalizer rules of `kube-controller-manager`'s garbage collector.

mod graph;
mod item;
mod plan;

pub use graph::Graph;
pub use item::{Item, Owner, Partial, ResourceName, Sought};
pub use plan::{Action, Propagation};
