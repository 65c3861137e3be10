//! Commands run beside a container's own with their streams open, on a terminal if need be; connections to ports.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::Stdio;

use backstay_streams::carry;
use backstay_streams::{StreamRequest, Target};
use futures::FutureExt as _;
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use tokio::net::unix::pipe;
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::runtime::ShimCommand;
use super::shim::ATTACH_SOCKET;
use crate::runtime::ContainerKey;
use crate::streams::{AttachRequest, BoxDuplex, BoxRead, BoxWrite, ExecRequest, Session, StreamError, TerminalSize};

/// Sizes that a client may be ahead of its terminal.
const SIZES_MAX: usize = 4;
/// A command whose container has ended was killed.
const KILLED: i32 = 137;

/// Starts a command in the container whose directory this is, on this terminal or on one of the machine's if it wants
/// one. `ended` resolves when the container does.
pub(super) fn open_exec(
    shim: &ShimCommand,
    dir: &Path,
    request: ExecRequest,
    terminal: Option<Terminal>,
    ended: impl Future<Output = ()> + Send + 'static,
) -> Result<Session, StreamError> {
    let failed = |error: io::Error| StreamError::failed(format!("cannot run a command in the container: {error}"));
    let mut program = Command::new(&shim.0[0]);
    program.args(&shim.0[1..]).arg(if request.tty { "exec-tty" } else { "exec" }).arg(dir).args(&request.command);
    program.env_clear().current_dir("/").kill_on_drop(true);
    let terminal = match terminal {
        _ if !request.tty => None,
        Some(terminal) => Some(terminal),
        None => Some(Terminal::open().map_err(failed)?),
    };
    match &terminal {
        Some(terminal) => {
            let end = || terminal.end.try_clone().map(Stdio::from);
            program.stdin(end().map_err(failed)?).stdout(end().map_err(failed)?).stderr(end().map_err(failed)?);
        }
        None => {
            let pipe = |open: bool| if open { Stdio::piped() } else { Stdio::null() };
            program.stdin(pipe(request.stdin)).stdout(pipe(request.stdout)).stderr(pipe(request.stderr));
            // On a terminal, its session is a group as well.
            program.process_group(0);
        }
    }
    let mut child = program.spawn().map_err(failed)?;
    // It holds our copies of the terminal's other end: with them open there would be no end of its output.
    drop(program);
    let mut session = match terminal {
        Some(terminal) => terminal.session(&request).map_err(failed)?,
        None => Session {
            stdin: child.stdin.take().map(|stdin| Box::new(stdin) as BoxWrite),
            stdout: child.stdout.take().map(|stdout| Box::new(stdout) as BoxRead),
            stderr: child.stderr.take().map(|stderr| Box::new(stderr) as BoxRead),
            resize: None,
            exit: None,
        },
    };
    session.exit = Some(exit(Group(child), ended).boxed());
    Ok(session)
}

async fn exit(mut group: Group, ended: impl Future<Output = ()>) -> Result<i32, StreamError> {
    let status = tokio::select! {
        status = group.0.wait() => status,
        () = ended => return Ok(KILLED),
    };
    let status = status.map_err(|error| StreamError::failed(format!("cannot wait for the command: {error}")))?;
    Ok(exit_code(status))
}

fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A command and what it has started: killed if it is given up before its end.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // None once its end has been seen: then the number may be somebody else's.
        if let Some(group) = self.0.id().and_then(|id| Pid::from_raw(id as i32)) {
            // Gone already is fine.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

/// A pseudo terminal.
pub struct Terminal {
    /// Our side.
    pub master: OwnedFd,
    /// The command's side.
    pub end: OwnedFd,
}

impl Terminal {
    pub(super) fn open() -> io::Result<Self> {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::pty::grantpt(&master)?;
        rustix::pty::unlockpt(&master)?;
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let end = rustix::fs::open(name, flags, rustix::fs::Mode::empty())?;
        Ok(Self { master, end })
    }

    fn session(self, request: &ExecRequest) -> io::Result<Session> {
        drop(self.end);
        let (stdin, stdout, resize) = streams(self.master)?;
        Ok(Session {
            stdin: request.stdin.then_some(stdin),
            stdout: Some(stdout),
            stderr: None,
            resize: Some(resize),
            exit: None,
        })
    }
}

fn streams(master: OwnedFd) -> io::Result<(BoxWrite, BoxRead, mpsc::Sender<TerminalSize>)> {
    let flags = rustix::fs::fcntl_getfl(&master)?;
    rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
    let reader = pipe::Receiver::from_owned_fd_unchecked(master.try_clone()?)?;
    let writer = pipe::Sender::from_owned_fd_unchecked(master.try_clone()?)?;
    let (resize, mut sizes) = mpsc::channel(SIZES_MAX);
    tokio::spawn(async move {
        while let Some(size) = sizes.recv().await {
            set_size(&master, size);
        }
    });
    Ok((Box::new(writer), Box::new(reader), resize))
}

pub(super) fn set_size(terminal: impl AsFd, size: TerminalSize) {
    let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
    // A terminal that is gone has no size.
    let _ = rustix::termios::tcsetwinsize(terminal, size);
}

/// Attaches to the container whose directory this is: its shim shows and takes.
pub(super) async fn attach(dir: &Path, key: &ContainerKey, request: AttachRequest) -> Result<Session, StreamError> {
    let failed = |error: io::Error| StreamError::failed(format!("cannot attach to container {:?}: {error}", key.name));
    // The path of a socket may not be long, that of a directory may.
    let dir = rustix::fs::open(dir, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty());
    let dir = dir.map_err(|error| failed(error.into()))?;
    let path = format!("/proc/self/fd/{}/{ATTACH_SOCKET}", dir.as_raw_fd());
    let connection = UnixStream::connect(path).await.map_err(failed)?;
    let target = Target { uid: key.pod_uid.clone(), container: key.name.clone(), ..Target::default() };
    carry::ask(Box::new(connection), &StreamRequest::Attach { target, request }).await
}

/// The pod's network is the machine's.
pub(super) async fn port_forward(port: u16) -> Result<BoxDuplex, StreamError> {
    let connection = match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(connection) => connection,
        Err(first) => TcpStream::connect(("::1", port))
            .await
            .map_err(|_| StreamError::failed(format!("cannot connect to 127.0.0.1:{port}: {first}")))?,
    };
    // Whoever types waits for every byte.
    let _ = connection.set_nodelay(true);
    Ok(Box::new(connection))
}
