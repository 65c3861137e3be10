//! An etcd of our own, alone on loopback, for as long as it is measured.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{self, Usage};

/// It elects itself first, which takes seconds on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);

pub struct Etcd {
    child: Child,
    pub endpoint: String,
}

impl Etcd {
    pub fn is_installed() -> bool {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|directory| directory.join("etcd").is_file())
    }

    /// Starts it, and waits until it says that it is well.
    pub fn start(directory: &Path) -> Result<Self> {
        let (client, peer) = (free_address()?, free_address()?);
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let log = std::fs::File::create(directory.join("log"))?;
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(directory.join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}"), "--quota-backend-bytes", "8589934592"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let etcd = Self { child, endpoint: client };
        let begun = Instant::now();
        while !etcd.is_well() {
            if begun.elapsed() > START_MAX {
                let said = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
                bail!("etcd is not well after {} s: {said}", START_MAX.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(etcd)
    }

    fn is_well(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.endpoint.trim_start_matches("http://"))?;
            stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        // While nobody listens there is no answer, which is one as well.
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.0 200") && answer.contains("true"))
    }

    /// Ends it; says what it has used.
    pub fn stop(mut self) -> Result<Usage> {
        let usage = Usage::of(self.child.id())?;
        process::end(&mut self.child);
        Ok(usage)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}

/// etcd cannot say which free port it took, so one is looked for here.
fn free_address() -> Result<String> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    Ok(format!("http://{}", address.context("no free port on loopback")?))
}
