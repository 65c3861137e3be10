//! The images of this machine, for its runtime `oci`: works on the data directory, with an agent or without.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use backstay_api::{meta, pod};
use backstay_node::pods_dir;
use backstay_node::process::layout::{self, ShimSpec};
use backstay_oci::reference::Reference;
use backstay_oci::store::{Given, ImageRecord, Store, StoreError};
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::data_dir;

/// The images that this machine keeps for its pods (runtime oci)
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  # Bring an image to a machine without a registry: docker save app:v1 -o app.tar, or an OCI layout as a tar
  backstay image import app.tar

  # An OCI layout whose images have a tag alone: `skopeo copy docker://... oci-archive:app.tar:v1`
  backstay image import app.tar --name registry.example.com/app

  # The same before the machine's agent has ever started
  backstay image import app.tar --agent

  # What is there, and what can go
  backstay image list
  backstay image gc")]
pub struct ImageArgs {
    /// The data directory of the server or the agent [default: that of `up`, else that of `agent`]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,

    /// The data directory is that of `backstay agent`: shows by itself once an agent has started there
    #[arg(long, global = true)]
    agent: bool,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Add the images of a file: a tar of an OCI layout, or of `docker save`
    ///
    /// They are called as the file says. OCI layouts often say a tag alone; what it is a tag of, --name says.
    Import {
        #[arg(value_name = "FILE")]
        file: PathBuf,

        /// What the image is to be called, whatever the file says; without a tag, with the one that the file says
        #[arg(long, value_name = "NAME[:TAG]")]
        name: Option<Given>,
    },
    /// List the images that are there
    #[command(visible_alias = "ls")]
    List,
    /// Remove images that no pod of this machine is made from
    Rm {
        /// By name, digest or id
        #[arg(value_name = "IMAGE", required = true)]
        images: Vec<String>,
    },
    /// Remove every image that no pod of this machine is made from
    Gc,
}

pub fn run(args: &ImageArgs) -> Result<ExitCode> {
    let node = node_dir(args.data_dir.as_deref(), args.agent);
    let dir = images_dir(&node);
    if matches!(args.verb, Verb::List) && !dir.exists() {
        list(&[]);
        return Ok(ExitCode::SUCCESS);
    }
    if !matches!(args.verb, Verb::List) && !rustix::process::geteuid().is_root() {
        bail!("images keep the owners of their files, which takes root to set and to remove: run as root");
    }
    if !node.exists() && !args.agent {
        let up = node.parent().unwrap_or(&node).display();
        eprintln!(
            "backstay: nothing runs in {up} yet: this is for `backstay up`; if it is to be an agent's, add --agent"
        );
    }
    let store = Store::open(&dir).with_context(|| format!("cannot use the images in {}", dir.display()))?;
    match &args.verb {
        Verb::Import { file, name } => {
            store.import_as(file, name.as_ref())?.iter().for_each(|imported| println!("{}", imported.name))
        }
        Verb::List => list(&store.images()?),
        Verb::Rm { images } => {
            for image in images {
                let removed = store.remove(image, |image| is_in_use(image, &in_use(&node)))?;
                println!("{}", name(&removed));
            }
        }
        Verb::Gc => {
            for image in store.images()? {
                match store.remove(&image.id, |image| is_in_use(image, &in_use(&node))) {
                    Ok(removed) => println!("{}", name(&removed)),
                    // An agent may have been faster.
                    Err(StoreError::InUse(_) | StoreError::Unknown(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            store.clean()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the images of a node lie.
pub fn images_dir(node: &Path) -> PathBuf {
    node.join("images")
}

/// A server keeps its own node's things in `node`; an agent's directory is the node's. Before anything has run in a
/// directory, it could be either's.
fn node_dir(given: Option<&Path>, is_agents: bool) -> PathBuf {
    let agent = data_dir::agent();
    match given {
        Some(dir) if is_agents || pods_dir(dir).exists() => dir.to_path_buf(),
        None if is_agents => agent,
        Some(dir) => dir.join("node"),
        None if !data_dir::default().exists() && agent.exists() => agent,
        None => data_dir::default().join("node"),
    }
}

/// What the pods of a node are made from: ids and digests of containers that have not ended, and names that pods have
/// for images, since their containers may be about to start.
fn in_use(node: &Path) -> BTreeSet<String> {
    let below = |dir: PathBuf| {
        let names = layout::names(&dir);
        names.into_iter().map(move |name| dir.join(name))
    };
    let attempts = below(pods_dir(node)).flat_map(|pod| below(pod.join("containers"))).flat_map(below);
    let running = attempts.filter(|attempt| !attempt.join("exit.json").exists());
    let ids = running.filter_map(|attempt| Some(layout::read::<ShimSpec>(&attempt.join("spec.json"))?.image_id));
    let objects = below(pods_dir(node)).filter_map(|pod| layout::read::<Value>(&pod.join("object.json")));
    let names = objects.flat_map(|pod| {
        pod::containers(&pod).map(|container| meta::str_at(container, &["image"]).to_string()).collect::<Vec<_>>()
    });
    let names = names.filter_map(|name| Some(Reference::parse(&name).ok()?.to_string()));
    ids.chain(names).collect()
}

fn is_in_use(image: &ImageRecord, in_use: &BTreeSet<String>) -> bool {
    in_use.contains(&image.id) || image.digests.iter().chain(&image.tags).any(|name| in_use.contains(name))
}

fn name(image: &ImageRecord) -> &str {
    image.tags.first().or(image.digests.first()).unwrap_or(&image.id)
}

fn list(images: &[ImageRecord]) {
    let width = images.iter().map(|image| name(image).len()).max().unwrap_or(0).max("IMAGE".len());
    println!("{:width$}   {:12}   {:>10}", "IMAGE", "ID", "SIZE");
    for image in images {
        let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
        println!("{:width$}   {id:12}   {:>10}", name(image), size(image.size_bytes));
    }
}

fn size(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000_000 => format!("{}kB", tenths(1_000)),
        1_000_000..1_000_000_000 => format!("{}MB", tenths(1_000_000)),
        _ => format!("{}GB", tenths(1_000_000_000)),
    }
}
