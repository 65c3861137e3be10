//! Drives taint eviction: pods leave nodes whose `NoExecute` taints they do not bear, when their patience is over.
//!
//! Nothing is remembered of nodes without such taints. The pods of one that has them are listed when it is looked at:
//! when its taints change, when a pod comes to it, and when the next pod is due.

mod driver;
mod evict;

pub use driver::run;
