//! Connections to containers: an upgraded request, and what this process's terminal has to do with it.

use backstay_streams::events::{self, Event, Output};
use backstay_streams::remote::{Wanted, client};
use backstay_streams::{BoxDuplex, Session, TerminalSize};
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::error::{Failure, Outcome};
use crate::server::{Call, Server};
use crate::session::Session as Connected;

/// Runs a remote command on the streams of this process; the outcome is that of the command.
pub async fn remote_command(session: &Connected, call: &Call, wanted: Wanted) -> Outcome {
    let (io, protocol) = websocket(&session.server, call, &client::PROTOCOLS).await?;
    let raw = if wanted.tty { Some(RawTerminal::enter()?) } else { None };
    let code = show(session, client::session(io, &protocol, wanted)).await;
    drop(raw);
    match code? {
        0 => Ok(()),
        code => {
            session.io.err_line(&format!("command terminated with exit code {code}"));
            Err(Failure::Exit(u8::try_from(code).unwrap_or(1)))
        }
    }
}

/// Turns a request into a WebSocket. Returns the protocol that the server has chosen.
pub async fn websocket(server: &Server, call: &Call, protocols: &[&str]) -> Outcome<(BoxDuplex, String)> {
    use base64::Engine as _;
    let key = base64::engine::general_purpose::STANDARD.encode(rand::random::<[u8; 16]>());
    let headers = [
        (CONNECTION, "Upgrade".to_string()),
        (UPGRADE, "websocket".to_string()),
        (SEC_WEBSOCKET_VERSION, "13".to_string()),
        (SEC_WEBSOCKET_KEY, key),
        (SEC_WEBSOCKET_PROTOCOL, protocols.join(", ")),
    ];
    server.upgrade(call, headers.as_slice(), SEC_WEBSOCKET_PROTOCOL).await
}

async fn show(connected: &Connected, session: Session) -> Outcome<i32> {
    let (inputs, mut events) = events::split(session);
    let sizes = async {
        match inputs.resize {
            Some(resize) => follow_size(resize).await,
            None => std::future::pending().await,
        }
    };
    let typing = async {
        if let Some(mut stdin) = inputs.stdin {
            // Input that breaks has ended; one that nobody takes any more, too.
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut stdin).await;
            let _ = stdin.shutdown().await;
        }
        std::future::pending::<()>().await;
    };
    let showing = async {
        loop {
            match events.next().await {
                Some(Event::Data(Output::Stdout, bytes)) => connected.io.out_bytes(&bytes)?,
                Some(Event::Data(Output::Stderr, bytes)) => connected.io.err_bytes(&bytes),
                Some(Event::End(_)) => {}
                Some(Event::Exit(exit)) => return exit.map_err(|error| Failure::plain(error.message)),
                None => return Err(Failure::plain("lost the connection to the server")),
            }
        }
    };
    tokio::select! {
        code = showing => code,
        () = typing => unreachable!("it waits for ever"),
        () = sizes => unreachable!("it waits for ever"),
    }
}

/// Tells the size of the terminal, now and whenever it changes.
async fn follow_size(resize: mpsc::Sender<TerminalSize>) {
    let mut changes = signal(SignalKind::window_change()).ok();
    loop {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            // A command that has ended has no terminal any more.
            let _ = resize.send(TerminalSize { width: size.ws_col, height: size.ws_row }).await;
        }
        match &mut changes {
            Some(changes) => drop(changes.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// Whether somebody sits at standard input.
pub fn has_terminal() -> bool {
    rustix::termios::isatty(rustix::stdio::stdin())
}

/// Every key goes to the command, until this is dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Outcome<Self> {
        let failed = |error: rustix::io::Errno| Failure::plain(format!("cannot use the terminal: {error}"));
        let before = tcgetattr(rustix::stdio::stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no order.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}
