//! The process that is measured: started for one figure, with a data directory of its own, and ended after it.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::Target;

pub struct Server {
    pub target: Target,
    child: Child,
    pid: u32,
    directory: TempDir,
}

impl Server {
    /// Starts `PROGRAM server` with these further arguments, and waits until it is ready.
    pub async fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a data directory")?;
        let mut child = Command::new(program)
            .args(["server", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(directory.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pid = child.id().context("the server has ended at once")?;
        let mut lines = BufReader::new(child.stdout.take().context("the server has no output")?).lines();
        let ready = loop {
            match lines.next_line().await? {
                Some(line) if line.starts_with("backstay: ready ") => break line,
                Some(_) => {}
                None => bail!("the server has ended before it was ready"),
            }
        };
        let url = ready.split_whitespace().nth(2).context("the server does not say where it is")?;
        let kubeconfig = std::fs::read_to_string(directory.path().join("admin.kubeconfig"))?;
        Ok(Self { target: Target::read(url, &kubeconfig)?, child, pid, directory })
    }

    /// Gives the server a processor of its own, and all others to this process; whether there are several.
    pub fn set_apart(&self) -> Result<bool> {
        let processors = std::thread::available_parallelism()?.get();
        if processors < 2 {
            return Ok(false);
        }
        for (pid, own) in [(self.pid, "0".to_string()), (std::process::id(), format!("1-{}", processors - 1))] {
            let set = std::process::Command::new("taskset").args(["-acp", &own, &pid.to_string()]).output();
            let set = set.context("cannot run taskset, of util-linux")?;
            anyhow::ensure!(set.status.success(), "taskset: {}", String::from_utf8_lossy(&set.stderr));
        }
        Ok(true)
    }

    /// Its resident memory, in bytes.
    pub fn memory(&self) -> Result<u64> {
        status(self.pid, "VmRSS:")
    }

    /// The most it has ever been.
    pub fn memory_peak(&self) -> Result<u64> {
        status(self.pid, "VmHWM:")
    }

    /// Processor time so far, in seconds.
    pub fn cpu(&self) -> Result<f64> {
        cpu(self.pid)
    }

    /// All files in its data directory, in bytes.
    pub fn disk(&self) -> Result<u64> {
        let (mut folders, mut bytes) = (vec![self.directory.path().to_path_buf()], 0);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true => folders.push(entry.path()),
                    false => bytes += entry.metadata()?.len(),
                }
            }
        }
        Ok(bytes)
    }

    pub async fn stop(mut self) -> Result<()> {
        self.child.kill().await.context("cannot end the server")
    }
}

/// Processor time of a process so far, in seconds.
fn cpu(pid: u32) -> Result<f64> {
    /// `USER_HZ`, which is the same everywhere on Linux.
    const TICKS_PER_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the server is gone")?;
    // The name of the program stands in brackets, and may hold anything.
    let (_, fields) = text.rsplit_once(')').context("a process without a name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("no processor time");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

fn status(pid: u32, field: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the server is gone")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).context("the system does not tell memory")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}
