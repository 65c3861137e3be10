//! `kill -9` of a real process under load, again and again: every acknowledged write is there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use backstay_api::Index;
use backstay_store::{EmbeddedStore, Encoded, Key, Operation, Range, Store};
use bytes::Bytes;

const DIRECTORY: &str = "BACKSTAY_TEST_KILL_DIRECTORY";
const WRITERS: usize = 16;

/// Revision and whether it is there, by name.
type Acknowledged = BTreeMap<String, (u64, bool)>;

#[test]
fn nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut acknowledged = Acknowledged::new();
    let mut total = 0;
    for round in 0..8_usize {
        let lines_until_kill = 20 + round * round * 37;
        total += write_until_killed(directory.path(), lines_until_kill, &mut acknowledged);
        check(directory.path(), &mut acknowledged);
    }
    assert!(total > 1_000, "only {total} writes were acknowledged");
}

/// Starts a writer, kills it after some acknowledgements, and notes all that it could still print.
fn write_until_killed(directory: &std::path::Path, lines: usize, acknowledged: &mut Acknowledged) -> usize {
    let mut child = spawn(directory);
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut seen = 0;
    let mut line = String::new();
    while output.read_line(&mut line).expect("text") > 0 {
        // The last line may be cut short by the kill: the newline belongs to the acknowledgement.
        if let Some(words) = line.strip_prefix("ack ").and_then(|words| words.strip_suffix('\n')) {
            note(words, acknowledged);
            seen += 1;
            if seen == lines {
                child.kill().expect("it runs");
            }
        }
        line.clear();
    }
    let status = child.wait().expect("it ended");
    assert!(seen >= lines, "the writer ended by itself ({status}) after {seen} lines");
    seen
}

fn spawn(directory: &std::path::Path) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "child_that_writes", "--nocapture", "--test-threads=1"]);
    command.env(DIRECTORY, directory).stdout(Stdio::piped()).spawn().expect("this test runs again")
}

fn note(words: &str, acknowledged: &mut Acknowledged) {
    let mut words = words.split(' ');
    let name = words.next().expect("a name").to_string();
    let revision = words.next().and_then(|word| word.parse().ok()).expect("a revision");
    let is_there = words.next() == Some("put");
    let before = acknowledged.insert(name, (revision, is_there));
    assert!(before.is_none_or(|(before, _)| before < revision), "revisions of a key grow");
}

/// Each key is as acknowledged, or one unacknowledged step further.
fn check(directory: &std::path::Path, acknowledged: &mut Acknowledged) {
    let store = EmbeddedStore::open(directory).expect("the file is sound after a kill");
    let snapshot = store.snapshot();
    let newest = acknowledged.values().map(|(revision, _)| *revision).max().unwrap_or(0);
    assert!(snapshot.revision() >= newest, "revision {} is lost", newest);
    let mut further = 0;
    for (name, state) in acknowledged.iter_mut() {
        match snapshot.get(&Key::new("pods", "d", name)) {
            Some(entry) => {
                assert!(entry.revision >= state.0, "{name} fell back from {state:?} to {}", entry.revision);
                further += usize::from((entry.revision, true) != *state);
                *state = (entry.revision, true);
            }
            None => {
                further += usize::from(state.1);
                state.1 = false;
            }
        }
    }
    // Created, but killed before anybody heard of it.
    for entry in snapshot.list(&Range::all("pods"), None, 0) {
        let known = acknowledged.insert(entry.key.name.to_string(), (entry.revision, true)).is_some();
        further += usize::from(!known);
    }
    assert!(further <= WRITERS, "{further} keys differ, more than were underway");
}

/// The other process. Does nothing unless started by the test above.
#[test]
fn child_that_writes() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = Arc::new(EmbeddedStore::open(directory).expect("open"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    runtime.block_on(async {
        let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write_forever(store.clone(), writer))).collect();
        for writer in writers {
            writer.await.expect("the writer");
        }
    });
}

async fn write_forever(store: Arc<EmbeddedStore>, writer: usize) {
    for round in 0_usize.. {
        let name = format!("w{writer}-{}", round % 5);
        let key = Key::new("pods", "d", &name);
        let value = Encoded {
            head: Bytes::from_static(b"{\"v\":\""),
            tail: Bytes::from(format!("\",\"x\":\"{}\"}}", "x".repeat(100 + round % 3 * 1_500))),
            index: Arc::new(Index::default()),
        };
        let (operation, word) = match store.snapshot().get(&key) {
            None => (Operation::Create { value }, "put"),
            Some(entry) if round % 7 == 0 => (Operation::Delete { last: value, expected: entry.revision }, "del"),
            Some(entry) => (Operation::Update { value, expected: entry.revision }, "put"),
        };
        let revision = store.commit(key, operation).await.expect("commit").revision;
        let mut out = std::io::stdout().lock();
        writeln!(out, "ack {name} {revision} {word}").expect("the parent reads");
    }
}
