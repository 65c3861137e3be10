//! Reads the logs of containers from their files, for `kubectl logs`.
//!
//! Lines are `TIME STREAM F|P TEXT`; a long line comes in several parts, `P` and at last `F`. A log may have been
//! turned over: then its older parts lie beside it as `.log.1`, `.log.2`...

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use backstay_streams::LogRequest;
use backstay_streams::request::LogStream;
use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use jiff::Timestamp;
use thiserror::Error;

/// How often a followed log is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// In how many of these rounds it is found out whether the container has ended: that takes more than a look at a file.
const LOOK_EVERY: u32 = 4;
/// Lines are sent in pieces of about this size.
const CHUNK_BYTES: usize = 32 * 1024;

#[derive(Debug, Error)]
pub enum LogError {
    #[error("cannot read the log {path}")]
    Read { path: PathBuf, source: io::Error },
}

/// Whether the container has ended, by whoever runs it.
pub type Ended = Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// Opens the log of one attempt at running a container. A follow goes on until that has ended.
///
/// # Errors
/// If it cannot be read. One that is not there is empty.
pub fn open(
    path: &Path,
    request: LogRequest,
    ended: Ended,
) -> Result<impl Stream<Item = Bytes> + Send + use<>, LogError> {
    let start = Start::find(path, &request).map_err(|source| LogError::Read { path: path.to_path_buf(), source })?;
    let reader = Reader {
        current: None,
        pending: start.files,
        skip: start.skip,
        path: path.to_path_buf(),
        ended,
        look_in: 0,
        left: request.limit_bytes,
        line_start: true,
        request,
    };
    Ok(futures::stream::unfold(reader, |mut reader| async move { Some((reader.next().await?, reader)) }))
}

/// Where reading begins.
struct Start {
    /// Oldest first; the current file last. Open, so that turning over does not take them away.
    files: Vec<File>,
    /// So many lines are passed over first.
    skip: u64,
}

impl Start {
    fn find(path: &Path, options: &LogRequest) -> io::Result<Self> {
        let mut files: Vec<File> = Vec::new();
        for number in (1..)
            .map_while(|number| Some(number).filter(|number| part(path, *number).exists()))
            .collect::<Vec<u32>>()
            .into_iter()
            .rev()
        {
            files.push(File::open(part(path, number))?);
        }
        match File::open(path) {
            Ok(file) => files.push(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let Some(tail) = options.tail_lines else { return Ok(Self { files, skip: 0 }) };
        let mut lines = 0;
        for file in &mut files {
            lines += count_lines(file, options)?;
            file.seek(SeekFrom::Start(0))?;
        }
        Ok(Self { files, skip: lines.saturating_sub(tail) })
    }
}

fn part(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

/// Lines as the container printed them: the parts of a long one count once.
fn count_lines(file: &mut File, request: &LogRequest) -> io::Result<u64> {
    let mut count = 0;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        count += u64::from(Line::parse(&line).is_some_and(|line| line.last && line.is_wanted(request)));
        line.clear();
    }
    Ok(count)
}

/// One line of the file.
struct Line<'a> {
    time: &'a [u8],
    stream: &'a [u8],
    /// The end of a line that the container printed.
    last: bool,
    text: &'a [u8],
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.strip_suffix(b"\n").unwrap_or(line).splitn(4, |byte| *byte == b' ');
        let (time, stream, tag) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self { time, stream, last: tag != b"P", text: fields.next().unwrap_or_default() })
    }

    fn is_wanted(&self, request: &LogRequest) -> bool {
        let stream: Option<&[u8]> = request.stream.map(|stream| match stream {
            LogStream::Stdout => b"stdout".as_slice(),
            LogStream::Stderr => b"stderr",
        });
        if stream.is_some_and(|stream| stream != self.stream) {
            return false;
        }
        let Some(since) = request.since else { return true };
        let time = std::str::from_utf8(self.time).ok().and_then(|time| time.parse::<Timestamp>().ok());
        time.is_none_or(|time| time >= since)
    }
}

struct Reader {
    current: Option<BufReader<File>>,
    pending: Vec<File>,
    skip: u64,
    path: PathBuf,
    ended: Ended,
    /// So many rounds later it is asked again.
    look_in: u32,
    left: Option<u64>,
    /// The next part begins a line.
    line_start: bool,
    request: LogRequest,
}

impl Reader {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Looked at first: what was written before the end is read after it.
            let ended = self.request.follow && self.has_ended().await;
            let piece = self.read_on();
            if !piece.is_empty() {
                return Some(Bytes::from(piece));
            }
            if self.left == Some(0) || !self.request.follow || (ended && !self.turned_over()) {
                return None;
            }
            tokio::time::sleep(FOLLOW_EVERY).await;
        }
    }

    async fn has_ended(&mut self) -> bool {
        if self.look_in > 0 {
            self.look_in -= 1;
            return false;
        }
        self.look_in = LOOK_EVERY;
        (self.ended)().await
    }

    /// Everything that is there now, up to a piece.
    fn read_on(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < CHUNK_BYTES && self.left != Some(0) {
            if self.current.is_none() {
                if self.pending.is_empty() {
                    break;
                }
                self.current = Some(BufReader::new(self.pending.remove(0)));
            }
            match self.read_line() {
                Some(line) => self.take(&line, &mut out),
                None if !self.pending.is_empty() => self.current = None,
                None if self.turned_over() => self.reopen(),
                None => break,
            }
        }
        out
    }

    /// A whole line; of a half-written one the rest is awaited.
    fn read_line(&mut self) -> Option<Vec<u8>> {
        let reader = self.current.as_mut()?;
        let mut line = Vec::new();
        let read = reader.read_until(b'\n', &mut line).ok()?;
        if line.ends_with(b"\n") {
            return Some(line);
        }
        if read > 0 {
            let _ = reader.seek_relative(-(read as i64));
        }
        None
    }

    /// The file has been renamed since it was opened, and there is a new one.
    fn turned_over(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let Some(reader) = &self.current else { return self.path.exists() && self.pending.is_empty() };
        let held = reader.get_ref().metadata().map(|file| file.ino());
        let named = std::fs::metadata(&self.path).map(|file| file.ino());
        matches!((held, named), (Ok(held), Ok(named)) if held != named)
    }

    fn reopen(&mut self) {
        self.current = File::open(&self.path).ok().map(BufReader::new);
    }

    fn take(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(line) = Line::parse(line) else { return };
        if !line.is_wanted(&self.request) {
            return;
        }
        if self.skip > 0 {
            self.skip -= u64::from(line.last);
            return;
        }
        let begins = std::mem::replace(&mut self.line_start, line.last);
        let mut piece = Vec::with_capacity(line.text.len() + 40);
        if begins && self.request.timestamps {
            piece.extend_from_slice(line.time);
            piece.push(b' ');
        }
        piece.extend_from_slice(line.text);
        if line.last {
            piece.push(b'\n');
        }
        if let Some(left) = &mut self.left {
            piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= piece.len() as u64;
        }
        out.extend_from_slice(&piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt as _, StreamExt as _};
    use std::io::Write as _;

    struct Logs {
        dir: tempfile::TempDir,
    }

    impl Logs {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("0.log")
        }

        /// Writes `part`: 0 for the current file.
        fn write(&self, part: u32, text: &str) {
            let path = if part == 0 { self.path() } else { super::part(&self.path(), part) };
            let mut file = File::options().create(true).append(true).open(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn end(&self) {
            std::fs::write(self.dir.path().join("ended"), "").unwrap();
        }

        fn open(&self, request: LogRequest) -> impl Stream<Item = Bytes> + use<> {
            let ended = self.dir.path().join("ended");
            let ended = move || futures::future::ready(ended.exists()).boxed();
            open(&self.path(), request, Box::new(ended)).unwrap()
        }

        async fn read(&self, request: LogRequest) -> String {
            String::from_utf8(self.open(request).collect::<Vec<Bytes>>().await.concat()).unwrap()
        }
    }

    fn line(second: u32, text: &str) -> String {
        format!("2026-01-01T00:00:{second:02}.000000000Z stdout F {text}\n")
    }

    fn with(change: impl FnOnce(&mut LogRequest)) -> LogRequest {
        let mut options = LogRequest::default();
        change(&mut options);
        options
    }

    #[tokio::test]
    async fn options_choose_lines() {
        let logs = Logs::new();
        assert_eq!(logs.read(LogRequest::default()).await, "");
        logs.write(1, &(line(1, "a") + &line(2, "b")));
        logs.write(
            0,
            &(line(3, "c").replace("stdout", "stderr")
                + "2026-01-01T00:00:04Z stdout P lo\n2026-01-01T00:00:04Z stdout F ng\n"
                + &line(5, "")),
        );
        for (options, expected) in [
            (LogRequest::default(), "a\nb\nc\nlong\n\n"),
            (with(|it| it.stream = Some(LogStream::Stderr)), "c\n"),
            (with(|it| (it.stream, it.tail_lines) = (Some(LogStream::Stdout), Some(3))), "b\nlong\n\n"),
            (with(|it| it.tail_lines = Some(2)), "long\n\n"),
            (with(|it| it.tail_lines = Some(4)), "b\nc\nlong\n\n"),
            (with(|it| it.tail_lines = Some(0)), ""),
            (with(|it| it.limit_bytes = Some(3)), "a\nb"),
            (with(|it| it.since = "2026-01-01T00:00:03Z".parse().ok()), "c\nlong\n\n"),
            (
                with(|it| {
                    it.timestamps = true;
                    it.tail_lines = Some(2);
                }),
                "2026-01-01T00:00:04Z long\n2026-01-01T00:00:05.000000000Z \n",
            ),
        ] {
            assert_eq!(logs.read(options.clone()).await, expected, "{options:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn following_goes_on_until_the_container_ends() {
        let logs = Logs::new();
        logs.write(0, &line(0, "a"));
        let stream = logs.open(with(|it| it.follow = true));
        let mut stream = std::pin::pin!(stream);
        assert_eq!(stream.next().await.unwrap(), "a\n");
        // A line comes in two pieces.
        let whole = line(1, "bcd");
        let (first, second) = whole.split_at(40);
        logs.write(0, first);
        logs.write(0, second);
        assert_eq!(stream.next().await.unwrap(), "bcd\n");
        // The log is turned over.
        let path = logs.path();
        logs.write(0, &line(2, "last of the old file"));
        std::fs::rename(&path, super::part(&path, 1)).unwrap();
        logs.write(0, &line(3, "new"));
        assert_eq!(stream.next().await.unwrap(), "last of the old file\nnew\n");
        logs.write(0, &line(4, "end"));
        logs.end();
        assert_eq!(stream.next().await.unwrap(), "end\n");
        assert_eq!(stream.next().await, None);
    }
}
