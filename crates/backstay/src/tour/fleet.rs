//! The temporary fleet: a server of its own in a child process, with a data directory that goes with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::SIMULATED_NODES;
use super::manifest::Cast;

/// Until the server says that it is ready; it takes a fraction of a second.
const READY: Duration = Duration::from_secs(30);
/// Until all pods have ended after their DaemonSet is deleted: grace is 5 s.
const EMPTY: Duration = Duration::from_secs(20);

pub struct Fleet {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
    server: Child,
}

impl Fleet {
    pub async fn start(directory: &Path, cast: &Cast) -> Result<Self> {
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let kubeconfig = directory.join("admin.kubeconfig");
        let log = std::fs::File::create(directory.join("server.log")).context("cannot write the server's log")?;
        let mut command = Command::new(&program);
        command.arg("up").args(["--listen", "127.0.0.1:0", "--simulated-nodes", &SIMULATED_NODES.to_string()]);
        command.arg("--data-dir").arg(directory.join("state")).arg("--kubeconfig").arg(&kubeconfig);
        match cast.real_pods {
            true => command.args(["--runtime", "process", "--node-name", "my-machine"]),
            false => command.args(["--runtime", "none"]),
        };
        // Its own process group: Ctrl-C is for the tour, which then ends the server in order.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0).kill_on_drop(true);
        let mut server = command.spawn().context("cannot start the server")?;
        let stdout = server.stdout.take().context("the server has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = tokio::time::timeout(READY, lines.next_line()).await;
        if !matches!(&ready, Ok(Ok(Some(line))) if line.starts_with("backstay: ready")) {
            let log = std::fs::read_to_string(directory.join("server.log")).unwrap_or_default();
            bail!("the server did not become ready; it said:\n{log}");
        }
        let fleet = Self { program, kubeconfig, namespace: cast.namespace.clone(), server };
        fleet.prepare(cast).await?;
        Ok(fleet)
    }

    /// The namespace and the node labels that the DaemonSet needs, and every node ready.
    async fn prepare(&self, cast: &Cast) -> Result<()> {
        if self.quiet(&["get", "namespace", &cast.namespace]).await.is_err() {
            self.quiet(&["create", "namespace", &cast.namespace]).await?;
        }
        self.quiet(&["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=30s"]).await?;
        if !cast.node_labels.is_empty() {
            let labels: Vec<String> = cast.node_labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let mut arguments = vec!["label", "nodes", "--all", "--overwrite"];
            arguments.extend(labels.iter().map(String::as_str));
            self.quiet(&arguments).await?;
        }
        Ok(())
    }

    /// Runs a verb and returns what it wrote to standard output; its failure is an error.
    pub async fn quiet(&self, arguments: &[&str]) -> Result<String> {
        let output = self.verb(arguments).output().await?;
        if !output.status.success() {
            bail!("backstay {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a verb with its output on the terminal. Returns whether it succeeded.
    pub async fn show(&self, arguments: &[&str]) -> Result<bool> {
        let status = self.verb(arguments).stdout(Stdio::inherit()).stderr(Stdio::inherit()).status().await?;
        Ok(status.success())
    }

    fn verb(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(["--namespace", &self.namespace]);
        command.arg("--kubeconfig").arg(&self.kubeconfig).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Ends all pods (they would outlive the server), then the server.
    pub async fn end(mut self) -> Result<()> {
        let emptied = tokio::time::timeout(EMPTY, async {
            self.quiet(&["delete", "daemonsets", "--all"]).await?;
            while !self.quiet(&["get", "pods", "-o", "name"]).await?.trim().is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        })
        .await
        .unwrap_or_else(|_| bail!("some pods did not end in time"));
        if let Some(pid) = self.server.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("cannot stop the server")?;
        }
        self.server.wait().await.context("cannot wait for the server")?;
        emptied
    }
}
