//! The beginning of what a command prints; the rest is read and dropped, so that the command does not get stuck.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

/// As much of a probe's output as fits into an event.
const EXEC_OUTPUT_BYTES: usize = 10 * 1024;

pub(super) struct Output {
    pipe: pipe::Receiver,
    kept: Vec<u8>,
    ended: bool,
}

impl Output {
    pub(super) fn new(reader: OwnedFd) -> io::Result<Self> {
        Ok(Self { pipe: pipe::Receiver::from_owned_fd(reader)?, kept: Vec::new(), ended: false })
    }

    /// Waits for more and takes it in; waits for ever once there is no more.
    pub(super) async fn read_on(&mut self) {
        let mut chunk = [0; 4096];
        match self.pipe.read(&mut chunk).await {
            Ok(0) | Err(_) => {
                self.ended = true;
                std::future::pending().await
            }
            Ok(count) => self.keep(&chunk[..count]),
        }
    }

    /// Takes what is there now. Processes left behind may hold the other end open, so its end is not waited for.
    pub(super) fn finish(mut self) -> String {
        let mut chunk = [0; 4096];
        while !self.ended && self.kept.len() < EXEC_OUTPUT_BYTES {
            match self.pipe.try_read(&mut chunk) {
                Ok(0) | Err(_) => break,
                Ok(count) => self.keep(&chunk[..count]),
            }
        }
        String::from_utf8_lossy(&self.kept).into_owned()
    }

    fn keep(&mut self, chunk: &[u8]) {
        let room = EXEC_OUTPUT_BYTES.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
}
