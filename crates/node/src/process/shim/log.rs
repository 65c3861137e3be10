//! The container's log: one line `TIME STREAM F|P TEXT` per line it prints, as CRI has it, in files of limited size.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// A line longer than this is written in parts, as containerd does.
const PART_BYTES: usize = 16 * 1024;
/// As much as the kubelet takes from a log for a container's last words.
const LAST_WORDS_LINES: usize = 80;
const LAST_WORDS_BYTES: usize = 2048;

pub(super) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    files: u32,
}

/// One of the container's two streams, with what has come of its current line.
pub(super) struct Stream {
    name: &'static str,
    line: Vec<u8>,
}

impl Log {
    pub(super) fn open(path: &Path, bytes_max: u64, files: u32) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_path_buf(), file, bytes, bytes_max, files })
    }

    /// Takes in what a stream has delivered. A log that cannot be written loses lines; the container goes on.
    pub(super) fn feed(&mut self, stream: &mut Stream, mut chunk: &[u8], now: Timestamp) {
        let mut out = Vec::with_capacity(chunk.len() + 64);
        while !chunk.is_empty() {
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let room = PART_BYTES - stream.line.len();
            let take = end.unwrap_or(chunk.len()).min(room);
            stream.line.extend_from_slice(&chunk[..take]);
            chunk = &chunk[take..];
            if chunk.first() == Some(&b'\n') {
                chunk = &chunk[1..];
                stream.flush(&mut out, 'F', now);
            } else if stream.line.len() == PART_BYTES {
                stream.flush(&mut out, 'P', now);
            }
        }
        self.write(&out);
    }

    /// The stream has ended; what is left of it is a line without an end.
    pub(super) fn finish(&mut self, stream: &mut Stream, now: Timestamp) {
        let mut out = Vec::new();
        if !stream.line.is_empty() {
            stream.flush(&mut out, 'F', now);
        }
        self.write(&out);
    }

    /// The end of what the container has printed, for its status.
    pub(super) fn last_words(&self) -> String {
        // Every line carries its time and stream, so more is read than is kept.
        let from = self.bytes.saturating_sub(4 * LAST_WORDS_BYTES as u64);
        let mut end = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(from))?;
            file.read_to_end(&mut end)
        });
        if read.is_err() {
            return String::new();
        }
        let text = String::from_utf8_lossy(&end);
        let line = |line: &str| {
            let mut fields = line.splitn(4, ' ').skip(2);
            let (tag, text) = (fields.next()?, fields.next()?);
            Some(if tag == "P" { text.to_string() } else { format!("{text}\n") })
        };
        let lines: Vec<String> = text.lines().filter_map(line).collect();
        let words = lines[lines.len().saturating_sub(LAST_WORDS_LINES)..].concat();
        let cut = words.len().saturating_sub(LAST_WORDS_BYTES);
        let cut = (cut..=words.len()).find(|at| words.is_char_boundary(*at)).unwrap_or(words.len());
        words[cut..].to_string()
    }

    fn write(&mut self, out: &[u8]) {
        if out.is_empty() {
            return;
        }
        if self.bytes > 0 && self.bytes + out.len() as u64 > self.bytes_max {
            // If turning over fails, the current file just grows on.
            let _ = self.turn_over();
        }
        let mut written = 0;
        while written < out.len() {
            match self.file.write(&out[written..]) {
                Ok(count @ 1..) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
            }
        }
        // A line is there as a whole or not at all, or the next would be taken for its end.
        let whole = out[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.bytes += whole as u64;
        if whole < written {
            let _ = self.file.set_len(self.bytes);
        }
    }

    fn turn_over(&mut self) -> io::Result<()> {
        let part = |number: u32| PathBuf::from(format!("{}.{number}", self.path.display()));
        // First of all, since the disk may have no room for it.
        let new = PathBuf::from(format!("{}.new", self.path.display()));
        let file = OpenOptions::new().create(true).append(true).open(&new)?;
        for number in (1..self.files.saturating_sub(1)).rev() {
            let _ = std::fs::rename(part(number), part(number + 1));
        }
        if self.files > 1 {
            std::fs::rename(&self.path, part(1))?;
        } else {
            std::fs::remove_file(&self.path)?;
        }
        std::fs::rename(&new, &self.path)?;
        self.file = file;
        self.bytes = 0;
        Ok(())
    }
}

impl Stream {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, line: Vec::new() }
    }

    fn flush(&mut self, out: &mut Vec<u8>, tag: char, now: Timestamp) {
        let time = now.strftime("%Y-%m-%dT%H:%M:%S%.9fZ");
        out.extend_from_slice(format!("{time} {} {tag} ", self.name).as_bytes());
        out.append(&mut self.line);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> Vec<String> {
        let tag = |line: &str| line.split(' ').skip(1).take(2).collect::<Vec<_>>().join(" ");
        text.lines().map(|line| format!("{} {}", tag(line), line.splitn(4, ' ').nth(3).unwrap().len())).collect()
    }

    #[test]
    fn lines_are_whole_or_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = Log::open(&path, 1 << 20, 3).unwrap();
        let mut stream = Stream::new("stdout");
        let now = Timestamp::UNIX_EPOCH;
        log.feed(&mut stream, b"a", now);
        log.feed(&mut stream, b"b\n\ncd", now);
        log.feed(&mut stream, &[b'x'; PART_BYTES], now);
        log.finish(&mut stream, now);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(tags(&text), ["stdout F 2", "stdout F 0", "stdout P 16384", "stdout F 2"]);
        assert!(text.starts_with("1970-01-01T00:00:00.000000000Z stdout F ab\n"), "{text}");
    }

    #[test]
    fn old_parts_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = Log::open(&path, 100, 3).unwrap();
        let mut stream = Stream::new("stderr");
        for number in 0..10 {
            log.feed(&mut stream, format!("line {number} {}\n", "x".repeat(40)).as_bytes(), Timestamp::UNIX_EPOCH);
        }
        let held = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(held("0.log").contains("line 9"));
        assert!(held("0.log.1").contains("line 8"));
        assert!(held("0.log.2").contains("line 7"));
        assert!(!dir.path().join("0.log.3").exists());
        // No new file can be made: the current one grows on, and nothing else is moved.
        std::fs::create_dir(dir.path().join("0.log.new")).unwrap();
        log.feed(&mut stream, b"line 10\n", Timestamp::UNIX_EPOCH);
        log.feed(&mut stream, b"line 11\n", Timestamp::UNIX_EPOCH);
        assert!(held("0.log").contains("line 9") && held("0.log").contains("line 10"));
        assert!(held("0.log").contains("line 11"));
        assert!(held("0.log.1").contains("line 8"));
    }
}
