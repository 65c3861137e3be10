//! The command line of the server side. Source of names and defaults: the command line contract.

use std::net::SocketAddr;
use std::path::PathBuf;

use backstay_api::servers;
use backstay_node::pod_inputs::sysctls::parse_allowed;
use backstay_oci::network;
use clap::{Args, ValueEnum};
use jiff::SignedDuration;

/// What runs the pods of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// `cri` if a container runtime answers at its usual socket or at --cri-socket, else `oci` as root, else `process`
    Auto,
    /// containerd or CRI-O, over CRI v1
    Cri,
    /// Containers without a daemon, as root: images from registries or `backstay image import`, networks of pods by CNI
    Oci,
    /// Supervised host processes: a container's command runs on the host itself, images are not used
    Process,
    /// This machine is not a node
    None,
}

/// What runs the pods of this machine, and where it is.
#[derive(Clone, Debug, Args)]
pub struct RuntimeArgs {
    /// What runs this machine's pods
    #[arg(long = "runtime", value_enum, default_value_t = Runtime::Auto)]
    pub kind: Runtime,

    /// Where the container runtime listens [default: the usual place of containerd, then of CRI-O]
    #[arg(long, value_name = "PATH")]
    pub cri_socket: Option<PathBuf>,

    /// Where the configurations of pod networks are, for the oci runtime; the first by name counts
    #[arg(long, value_name = "DIR", default_value = network::CONFIGURATIONS)]
    pub cni_conf_dir: PathBuf,

    /// Where the plugins of pod networks are, for the oci runtime
    #[arg(long = "cni-bin-dir", value_name = "DIR", value_delimiter = ',', default_values = network::PLUGINS)]
    pub cni_bin_dirs: Vec<PathBuf>,

    /// Sysctls that pods may set besides the safe ones, such as net.core.somaxconn or kernel.msg*
    #[arg(long = "allowed-unsafe-sysctls", value_name = "NAME", value_delimiter = ',', value_parser = parse_allowed)]
    pub sysctls_allowed: Vec<String>,
}

/// What keeps the state of a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// One file in the data directory, for one server
    Embedded,
    /// An etcd, for one server or several
    Etcd,
}

/// From when on objects say who manages which of their fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ManagedFieldsFrom {
    /// From their beginning, as in Kubernetes
    Create,
    /// From the first server-side apply: pods are half as large, for the store, for watches and for lists
    FirstApply,
}

/// Where an etcd is.
#[derive(Clone, Debug, Args)]
pub struct EtcdArgs {
    /// The members of etcd, as https://HOST:2379
    #[arg(long = "etcd-endpoints", value_name = "URL", value_delimiter = ',')]
    pub endpoints: Vec<String>,

    /// The authority that vouches for etcd, in PEM form
    #[arg(long = "etcd-ca", value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Our certificate for etcd, in PEM form
    #[arg(long = "etcd-cert", value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,

    /// The key of that certificate, in PEM form
    #[arg(long = "etcd-key", value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

impl EtcdArgs {
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.ca.is_none() && self.cert.is_none() && self.key.is_none()
    }
}

/// Where a control plane keeps its state, and where it is reached.
#[derive(Clone, Debug, Args)]
pub struct ControlPlaneArgs {
    /// Where all state is kept [default: $XDG_STATE_HOME/backstay, as root /var/lib/backstay]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Address to serve on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6443")]
    pub listen: SocketAddr,

    /// What keeps the state
    #[arg(long, value_enum, default_value_t = StoreKind::Embedded)]
    pub store: StoreKind,

    #[command(flatten)]
    pub etcd: EtcdArgs,

    /// Whether controllers and simulated nodes run under a Lease, on one of several servers at a time [default: true
    /// with --store etcd, else false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub leader_elect: Option<bool>,

    /// Where to write the admin kubeconfig (mode 0600) [default: DATA_DIR/admin.kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Also register so many simulated nodes, named sim-00000 and so on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub simulated_nodes: u32,

    /// More names and addresses under which clients reach this server, for its certificate
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub tls_san: Vec<String>,

    /// Where agents reach this server; they and `token create` hear of it [default with --store etcd: the address to
    /// serve on]
    #[arg(long, value_name = "URL", value_parser = server_url)]
    pub advertise_url: Option<String>,

    /// How long a node may be silent before it is given up, such as 50s or 2m
    #[arg(long, value_name = "DURATION", default_value = "50s", value_parser = duration)]
    pub node_monitor_grace_period: SignedDuration,

    /// How long events are kept, as in Kubernetes
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub event_ttl: SignedDuration,

    /// Admission plugins to leave out, as in Kubernetes
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,

    /// From when on objects say who manages which of their fields
    #[arg(long, value_enum, default_value_t = ManagedFieldsFrom::Create)]
    pub managed_fields_from: ManagedFieldsFrom,

    /// Whether containers may be privileged, as in Kubernetes
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub allow_privileged: bool,
}

/// A one-machine fleet: the server, its controllers, and this machine as a node.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  # A fleet of one, on https://127.0.0.1:6443
  backstay up

  # On a free port, with 50 simulated nodes and no real one
  backstay up --listen 127.0.0.1:0 --simulated-nodes 50 --runtime none")]
pub struct UpArgs {
    #[command(flatten)]
    pub control_plane: ControlPlaneArgs,

    #[command(flatten)]
    pub runtime: RuntimeArgs,

    /// Name of this machine's node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
}

/// The control plane alone: API server, store and controllers.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  # Reached from other machines
  backstay server --listen 10.0.0.1:6443 --data-dir /srv/backstay

  # One of several servers over one etcd; agents and tokens hear of all of them
  backstay server --listen 10.0.0.1:6443 --store etcd --etcd-endpoints https://10.0.0.5:2379 \\
    --etcd-ca etcd-ca.crt --etcd-cert client.crt --etcd-key client.key")]
pub struct ServerArgs {
    #[command(flatten)]
    pub control_plane: ControlPlaneArgs,
}

fn server_url(text: &str) -> Result<String, String> {
    let url = text.trim_end_matches('/');
    match servers::host(url) {
        Some(_) => Ok(url.to_string()),
        None => Err("write it like https://10.0.0.1:6443".to_string()),
    }
}

/// `50s`, `2m30s`, `1h`: as Kubernetes spells durations.
fn duration(text: &str) -> Result<SignedDuration, String> {
    let duration: SignedDuration = text.parse().map_err(|error| format!("{error}; write it like 50s or 2m"))?;
    match duration.is_positive() {
        true => Ok(duration),
        false => Err("it must be more than nothing".to_string()),
    }
}
