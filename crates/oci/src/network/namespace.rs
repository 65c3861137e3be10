//! Namespaces of a pod, each kept by a file that stands for it.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use backstay_node::runtime::is_mounted;
use rustix::mount::UnmountFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Network,
    Ipc,
    /// Hostname and domain name.
    Uts,
}

impl Kind {
    fn parts(self) -> (UnshareFlags, &'static str) {
        match self {
            Self::Network => (UnshareFlags::NEWNET, "net"),
            Self::Ipc => (UnshareFlags::NEWIPC, "ipc"),
            Self::Uts => (UnshareFlags::NEWUTS, "uts"),
        }
    }
}

/// Makes a namespace, and prepares it from within; does nothing if there is one already.
pub(crate) fn pin(
    file: &Path,
    kind: Kind,
    prepare: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    if is_mounted(file) {
        return Ok(());
    }
    fs::create_dir_all(file.parent().unwrap_or(file))?;
    fs::File::create(file)?;
    let file = file.to_path_buf();
    // On a thread of its own: it never comes back out of the namespace.
    let made = std::thread::spawn(move || {
        let (flag, name) = kind.parts();
        #[allow(deprecated, reason = "its flaw concerns shared file tables only")]
        rustix::thread::unshare(flag)?;
        prepare()?;
        rustix::mount::mount_bind(format!("/proc/thread-self/ns/{name}"), &file)?;
        Ok(())
    });
    made.join().map_err(|_| io::Error::other("the thread that makes a namespace has panicked"))?
}

/// Lets the namespace go once nobody is in it any more.
pub(crate) fn unpin(file: &Path) -> io::Result<()> {
    while is_mounted(file) {
        rustix::mount::unmount(file, UnmountFlags::DETACH)?;
    }
    Ok(())
}

/// Connects to the first of these addresses that answers, as seen from inside of a network namespace.
pub(crate) async fn connect(namespace: &Path, addresses: Vec<SocketAddr>) -> io::Result<tokio::net::TcpStream> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let namespace = fs::File::open(namespace)?;
    let (sender, connected) = tokio::sync::oneshot::channel();
    // On a thread of its own: it never comes back out of the namespace. A socket stays where it was made.
    std::thread::spawn(move || {
        let attempt = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            let mut first = None;
            for address in &addresses {
                match TcpStream::connect_timeout(address, PATIENCE) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => drop(first.get_or_insert(error)),
                }
            }
            Err(first.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
        };
        // Whoever asked may have gone.
        let _ = sender.send(attempt());
    });
    let stream = connected.await.map_err(|_| io::Error::other("the thread that connects has panicked"))??;
    stream.set_nonblocking(true)?;
    tokio::net::TcpStream::from_std(stream)
}
