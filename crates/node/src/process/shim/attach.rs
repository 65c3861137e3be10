//! Clients that are attached to the container: what it prints goes to all of them, what they type goes to it.
//!
//! They come over a socket in the container's directory, and speak the frames of a session. One that cannot keep up is
//! left behind: the container does not wait for anybody.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use backstay_streams::StreamRequest;
use backstay_streams::frame::{Frame, Kind};
use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::process::streams::set_size;

/// The socket, below the container's directory.
pub const SOCKET: &str = "attach.sock";
/// What a client may be behind.
const BEHIND_BYTES_MAX: usize = 1 << 20;
/// What the container may be behind what is typed; beyond it, clients wait.
const TYPED_BYTES_MAX: usize = 64 * 1024;
/// Clients at once.
const CLIENTS_MAX: usize = 64;
const CHUNK_BYTES: usize = 16 * 1024;
/// After the container's end, clients get so long to take what is left.
const LINGER: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The container's standard input, or its terminal.
pub(super) struct Input {
    /// Does not block.
    pub(super) fd: OwnedFd,
    /// Clients may type; else it is only a terminal with a size.
    pub(super) takes: bool,
    /// Closed once the first who has attached to it has left.
    pub(super) once: bool,
    pub(super) terminal: bool,
}

#[derive(Default)]
pub(super) struct Attached {
    listener: Option<UnixListener>,
    clients: Vec<Client>,
    input: Option<Input>,
    /// Typed, and not taken by the container yet.
    typed: BytesMut,
    /// Nothing more will be typed.
    closing: bool,
}

struct Client {
    socket: UnixStream,
    received: BytesMut,
    /// Shown, and not taken yet.
    unsent: BytesMut,
    wants: Wants,
    gone: bool,
}

/// Nothing, until the client has said what it wants.
#[derive(Clone, Copy, Default)]
struct Wants {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Listener,
    Client(usize),
    Input,
}

impl Attached {
    /// Clients may come from now on. Without a socket there are none; the container runs all the same.
    pub(super) fn listen(path: &Path, input: Option<Input>) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        if let Err(error) = &listener {
            eprintln!("shim: nobody can attach: {}: {error}", path.display());
        }
        Self { listener: listener.ok(), input, ..Self::default() }
    }

    /// What to wait for.
    pub(super) fn watched(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let mut watched = Vec::new();
        if let Some(listener) = self.listener.as_ref().filter(|_| self.clients.len() < CLIENTS_MAX) {
            watched.push((Source::Listener, listener.as_fd(), PollFlags::IN));
        }
        let full = self.typed.len() >= TYPED_BYTES_MAX;
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !full);
            flags.set(PollFlags::OUT, !client.unsent.is_empty());
            watched.push((Source::Client(index), client.socket.as_fd(), flags));
        }
        if let Some(input) = self.input.as_ref().filter(|_| !self.typed.is_empty()) {
            watched.push((Source::Input, input.fd.as_fd(), PollFlags::OUT));
        }
        watched
    }

    /// Acts upon what has come true. Clients that have left are forgotten at the end of the round.
    pub(super) fn act(&mut self, ready: &[(Source, PollFlags)]) {
        for (source, flags) in ready {
            match source {
                Source::Listener => self.accept(),
                Source::Input => {}
                Source::Client(index) => self.serve(*index, *flags),
            }
        }
        self.feed();
        self.forget();
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        while let Ok((socket, _)) = listener.accept() {
            if socket.set_nonblocking(true).is_ok() {
                let (received, unsent) = (BytesMut::new(), BytesMut::new());
                self.clients.push(Client { socket, received, unsent, wants: Wants::default(), gone: false });
            }
        }
    }

    fn serve(&mut self, index: usize, flags: PollFlags) {
        let Some(client) = self.clients.get_mut(index) else { return };
        client.flush();
        if !flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        client.receive();
        while let Some(frame) = client.next() {
            match frame.kind {
                Kind::Open => client.open(&frame.payload),
                Kind::Stdin if frame.payload.is_empty() => {
                    // Who comes later finds it as open as before, unless it was for one client only.
                    self.closing |= self.input.as_ref().is_some_and(|input| input.once);
                }
                Kind::Stdin if !self.closing && self.input.as_ref().is_some_and(|input| input.takes) => {
                    self.typed.extend_from_slice(&frame.payload);
                }
                Kind::Resize => {
                    let terminal = self.input.as_ref().filter(|input| input.terminal);
                    if let (Some(terminal), Ok(size)) = (terminal, serde_json::from_slice(&frame.payload)) {
                        set_size(&terminal.fd, size);
                    }
                }
                _ => {}
            }
        }
    }

    /// Hands on what has been typed, as far as the container takes it.
    fn feed(&mut self) {
        while let Some(input) = &self.input
            && !self.typed.is_empty()
        {
            match rustix::io::write(&input.fd, &self.typed) {
                Ok(count) => drop(self.typed.split_to(count)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                // It has closed its input.
                Err(_) => {
                    self.typed.clear();
                    self.input = None;
                }
            }
        }
        if self.closing && self.input.as_ref().is_some_and(|input| !input.terminal) {
            self.input = None;
        }
    }

    fn forget(&mut self) {
        let left_with_input = self.clients.iter().any(|client| client.gone && client.wants.stdin);
        self.closing |= left_with_input && self.input.as_ref().is_some_and(|input| input.once);
        self.clients.retain(|client| !client.gone);
        if self.closing {
            self.feed();
        }
    }

    /// Shows a piece of output to everybody who wants it.
    pub(super) fn show(&mut self, kind: Kind, piece: &[u8]) {
        let frame = Frame::new(kind, Bytes::copy_from_slice(piece)).encode();
        for client in &mut self.clients {
            let wants = if kind == Kind::Stdout { client.wants.stdout } else { client.wants.stderr };
            if wants {
                client.send(&frame);
            }
        }
        self.forget();
    }

    /// Tells everybody that the container has ended, and waits a moment for them to take what is left.
    pub(super) fn end(mut self) {
        let exit = serde_json::to_vec(&Ok::<i32, ()>(0)).unwrap_or_default();
        let frame = Frame::new(Kind::Exit, exit).encode();
        self.clients.iter_mut().for_each(|client| client.send(&frame));
        loop {
            self.clients.retain(|client| !client.gone && !client.unsent.is_empty());
            let fds = self.clients.iter().map(|client| PollFd::new(&client.socket, PollFlags::OUT));
            let mut fds: Vec<PollFd<'_>> = fds.collect();
            if fds.is_empty() || !matches!(poll(&mut fds, Some(&LINGER)), Ok(1..)) {
                return;
            }
            self.clients.iter_mut().for_each(Client::flush);
        }
    }
}

impl Client {
    fn open(&mut self, request: &[u8]) {
        let Ok(StreamRequest::Attach { request, .. }) = serde_json::from_slice(request) else {
            self.gone = true;
            return;
        };
        self.wants = Wants { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
        self.send(&Frame::new(Kind::Opened, Bytes::new()).encode());
    }

    fn send(&mut self, frame: &[u8]) {
        self.unsent.extend_from_slice(frame);
        self.flush();
        self.gone |= self.unsent.len() > BEHIND_BYTES_MAX;
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(count) => drop(self.unsent.split_to(count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
    }

    /// One piece a round: others are served in between.
    fn receive(&mut self) {
        let mut chunk = [0; CHUNK_BYTES];
        match self.socket.read(&mut chunk) {
            Ok(0) => self.gone = true,
            Ok(count) => self.received.extend_from_slice(&chunk[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(_) => self.gone = true,
        }
    }

    fn next(&mut self) -> Option<Frame> {
        Frame::decode(&mut self.received).unwrap_or_else(|_| {
            // It does not speak this; nothing after it can be understood.
            self.received.clear();
            self.gone = true;
            None
        })
    }
}
