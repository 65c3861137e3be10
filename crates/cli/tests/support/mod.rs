//! A server in this process, and the verbs run against it as a user would.

// Each test file uses its part of this.
#![allow(dead_code)]

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use backstay_apiserver::pki::{self, Pki};
use backstay_apiserver::{ApiServer, Config, kubeconfig, listen};
use backstay_cli::{App, Command, Globals, Io};
use backstay_store::MemoryStore;
use clap::Parser;
use tempfile::TempDir;
use tokio::sync::watch;

/// An API server over an empty memory store, on a port of its own. No controllers, no nodes.
pub struct Server {
    pub directory: TempDir,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let path = directory.path().to_path_buf();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(path, stopped, ready));
        });
        is_ready.recv().expect("the server did not start");
        Self { directory, stop, thread: Some(thread) }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Writes a file and returns its name.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// Runs a command line (without the program) as `backstay` would.
    pub fn backstay(&self, words: &[&str]) -> Outcome {
        backstay(&self.kubeconfig(), words, "")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(directory: PathBuf, stopped: watch::Receiver<bool>, ready: std::sync::mpsc::Sender<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let pki = Pki::open(&directory.join("pki"), &pki::server_hosts(address.ip(), "localhost"), jiff::Timestamp::now());
    let pki = pki.unwrap();
    let mut config = Config::new(Arc::new(MemoryStore::default()));
    config.disabled_admission_plugins = vec!["ServiceAccount".into()];
    let server = ApiServer::new(config).unwrap();
    server.bootstrap().await.unwrap();
    let certificate = &pki.authority.pair().certificate_pem;
    kubeconfig::write(&directory.join("kubeconfig"), &format!("https://{address}"), certificate, &pki.admin).unwrap();
    let tls = listen::tls(&pki).unwrap();
    ready.send(()).unwrap();
    listen::serve(listener, tls, server.router(), stopped).await;
}

/// What a command printed, and its exit code.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub out: String,
    pub err: String,
    pub code: i32,
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

pub fn backstay(kubeconfig: &Path, words: &[&str], input: &str) -> Outcome {
    run(kubeconfig, words, input, "false", &Sink::default())
}

/// Runs a command line; what it prints can be watched from another thread.
pub fn run(kubeconfig: &Path, words: &[&str], input: &str, editor: &str, out: &Sink) -> Outcome {
    let line = Line::try_parse_from([&["backstay"], words].concat()).unwrap_or_else(|error| panic!("{error}"));
    let globals = Globals { kubeconfig: Some(kubeconfig.to_path_buf()), ..line.globals };
    let err = Sink::default();
    let io = Io::new(io::Cursor::new(input.to_string()), out.clone(), err.clone());
    let app = App { globals, io, client: None, program: "backstay", editor: editor.into() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let code = runtime.block_on(backstay_cli::run_with(&app, line.command));
    Outcome { out: out.text(), err: err.text(), code: code.into() }
}

/// Collects output; others can wait for what they expect in it.
#[derive(Clone, Default)]
pub struct Sink(Arc<(Mutex<Vec<u8>>, Condvar)>);

impl Sink {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().clone()).unwrap()
    }

    /// Returns once the text is there.
    pub fn wait_for(&self, text: &str) {
        let has = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).contains(text);
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |bytes| !has(bytes)).unwrap());
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.0.lock().unwrap().extend_from_slice(bytes);
        self.0.1.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
