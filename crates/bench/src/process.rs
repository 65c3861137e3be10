//! A server as a process of its own, and what the kernel says about processes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// What `ready` lines begin with.
const READY: &str = "backstay: ready ";

/// Linux shows times of processes in hundredths of a second on every architecture that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running `backstay up` or `backstay server`; ends with this value.
pub struct Server {
    child: Child,
    pub kubeconfig: PathBuf,
    /// From its start until it said that it is ready.
    pub ready_seconds: f64,
}

impl Server {
    /// Starts a server on a free port of loopback, and waits until it is ready.
    pub fn start(program: &Path, data_dir: &Path, arguments: &[String]) -> Result<Self> {
        let log = data_dir.join("bench.log");
        std::fs::create_dir_all(data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
        let mut command = Command::new(program);
        command.args(arguments).args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let begun = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut server = Self { child, kubeconfig: data_dir.join("admin.kubeconfig"), ready_seconds: 0.0 };
        let output = server.child.stdout.take().context("the server has no output")?;
        for line in BufReader::new(output).lines() {
            if line.context("cannot read what the server prints")?.starts_with(READY) {
                server.ready_seconds = begun.elapsed().as_secs_f64();
                return Ok(server);
            }
        }
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        bail!("{command:?} ended before it was ready: {}", said.trim())
    }

    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.child.id())
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        terminate(&mut self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Asks a process to end in order, and waits until it has.
pub fn terminate(child: &mut Child) -> Result<()> {
    kill_process(Pid::from_child(child), Signal::TERM).context("cannot end a process")?;
    let status = child.wait().context("cannot wait for a process")?;
    if !status.success() {
        bail!("a process that was asked to end did so with {status}");
    }
    Ok(())
}

/// Ends a process that may have ended already.
pub fn end(child: &mut Child) {
    // Both fail only for a process that is gone, which is what is wanted.
    let _ = child.kill();
    let _ = child.wait();
}

/// What a process has used so far. Megabytes are millions of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub memory_mb: f64,
    pub memory_peak_mb: f64,
    pub processor_seconds: f64,
}

impl Usage {
    pub fn of(pid: u32) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path} (it is Linux that has it)"))
        };
        let (status, stat) = (read("status")?, read("stat")?);
        let memory = |field: &str| megabytes(&status, field).with_context(|| format!("process {pid} has no {field}"));
        Ok(Self {
            memory_mb: memory("VmRSS:")?,
            memory_peak_mb: memory("VmHWM:")?,
            processor_seconds: processor_seconds(&stat).with_context(|| format!("cannot read the times of {pid}"))?,
        })
    }
}

fn megabytes(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}

/// User and system time. The process's name, in brackets, may hold anything, brackets too.
fn processor_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// Runs a short program to its end: how long it took.
pub fn seconds_of(mut command: Command) -> Result<f64> {
    let begun = Instant::now();
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let seconds = begun.elapsed().as_secs_f64();
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(seconds)
}

/// Runs a short program to its end: its peak memory, as far as it can be seen by looking again and again.
pub fn memory_peak_of(mut command: Command) -> Result<f64> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let mut peak = 0.0;
    loop {
        // A process at its end has no memory any more: what was seen before counts.
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        peak = megabytes(&status, "VmHWM:").unwrap_or(0.0).max(peak);
        if let Some(status) = child.try_wait()? {
            return if status.success() { Ok(peak) } else { bail!("{command:?} failed: {status}") };
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let status = "Name:\tx\nVmHWM:\t    1000 kB\nVmRSS:\t     500 kB\n";
        assert_eq!(megabytes(status, "VmHWM:"), Some(1.024));
        assert_eq!(megabytes(status, "VmSwap:"), None);
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0";
        assert_eq!(processor_seconds(stat), Some(3.0));
        assert_eq!(processor_seconds("7 (a"), None);
    }

    #[test]
    fn this_process_can_be_measured() {
        let usage = Usage::of(std::process::id()).expect("a usage");
        assert!(usage.memory_mb > 0.0 && usage.memory_peak_mb >= usage.memory_mb);
    }
}
