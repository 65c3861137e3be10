//! Thousands of simulated nodes in one driver: real planners and real objects, but nothing runs.
//!
//! All nodes share one watch of pods and one of nodes. What a pod costs: its creation and binding by others, one
//! status write, and one delete. Nodes are named `sim-00000`, `sim-00001`...; no other node is ever touched.

mod behavior;
mod fleet;
mod logs;
mod nodes;
mod pod;

pub(crate) use behavior::hash;
pub use behavior::{ANNOTATION, Behavior, Fault};
pub use logs::logs;

use backstay_api::{Clock, Entropy};
use kube::Client;

use crate::client::Api;

/// What every simulated node carries as a label, with the value `true`.
pub const LABEL: &str = "backstay.dev/simulated";

#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// How many nodes.
    pub nodes: usize,
    pub clock: Clock,
    pub entropy: Entropy,
}

/// The name of the node with this number.
pub fn node_name(index: usize) -> String {
    format!("sim-{index:05}")
}

/// The number of a simulated node; `None` for any other node.
pub fn node_index(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("sim-")?;
    let index = digits.parse().ok()?;
    (node_name(index) == name).then_some(index)
}

/// Registers the nodes, keeps them alive and runs their pods until `shutdown`. The nodes stay registered; simulated nodes
/// of an earlier, larger fleet are removed. A fleet of none does that and ends: it watches nothing.
pub fn run(
    client: Client,
    config: FleetConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> impl Future<Output = ()> + Send {
    let api = Api::new(client.into());
    let nodes = nodes::run(api.clone(), config.clone());
    async move {
        let pods = async {
            match config.nodes {
                0 => std::future::pending().await,
                _ => fleet::run(api, config).await,
            }
        };
        tokio::select! {
        biased;
            () = nodes => {}
            () = pods => {}
            () = shutdown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_have_a_number() {
        for (name, index) in [("sim-00042", Some(42)), ("sim-123456", Some(123_456)), ("sim-42", None), ("simx", None)]
        {
            assert_eq!(node_index(name), index, "{name}");
        }
        for name in ["sim-+0001", "sim--0001", "sim-000042", "host"] {
            assert_eq!(node_index(name), None, "{name}");
        }
    }
}
