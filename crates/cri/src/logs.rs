//! The log files of containers, which the runtime writes: turned over when they are large, read for last words.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// As much of a log as becomes a message, as in a kubelet.
const LAST_BYTES: u64 = 2048;
const LAST_LINES: usize = 80;

/// Whether it is time to turn a log over.
pub fn is_large(log: &Path, bytes_max: u64) -> bool {
    fs::metadata(log).is_ok_and(|file| file.len() > bytes_max)
}

/// Moves the parts of a log on by one; the oldest goes, so that `files` are kept, the current one included. The runtime
/// writes on into the first part until it is told to open the log anew.
pub fn turn_over(log: &Path, files: u32) -> io::Result<()> {
    for number in (1..files.saturating_sub(1)).rev() {
        match fs::rename(part(log, number), part(log, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(log, part(log, 1))
}

/// Takes the turning over back: nobody writes to the new file.
pub fn turn_back(log: &Path) -> io::Result<()> {
    fs::rename(part(log, 1), log)
}

/// Removes a log with all its parts.
pub fn remove(log: &Path) {
    let parts = (1..).map(|number| part(log, number)).take_while(|part| part.exists()).collect::<Vec<_>>();
    for file in parts.iter().map(PathBuf::as_path).chain([log]) {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(log = %file.display(), %error, "log of an old container not removed");
            }
            _ => {}
        }
    }
}

fn part(log: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", log.display()))
}

/// The end of a log: what was printed, without times and streams.
pub fn last_words(log: &Path) -> String {
    let Ok(mut file) = fs::File::open(log) else { return String::new() };
    let length = file.metadata().map(|file| file.len()).unwrap_or(0);
    // Times and streams take room too, which short lines feel most.
    let begin = length.saturating_sub(LAST_BYTES * 8);
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(begin)).and_then(|_| file.read_to_end(&mut bytes)).is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<&str> = text.lines().skip(usize::from(begin > 0)).collect();
    lines.drain(..lines.len().saturating_sub(LAST_LINES));
    let mut words = String::new();
    for line in lines {
        let mut fields = line.splitn(4, ' ').skip(2);
        let (whole, said) = (fields.next() != Some("P"), fields.next().unwrap_or_default());
        words += said;
        words += if whole { "\n" } else { "" };
    }
    tail(&words, LAST_BYTES as usize).to_string()
}

fn tail(text: &str, bytes: usize) -> &str {
    let mut begin = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(begin) {
        begin += 1;
    }
    &text[begin..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_move_on() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        for round in 0..5 {
            fs::write(&log, round.to_string()).unwrap();
            turn_over(&log, 3).unwrap();
        }
        let read = |number| fs::read_to_string(part(&log, number)).ok();
        assert_eq!((read(1).as_deref(), read(2).as_deref(), read(3)), (Some("4"), Some("3"), None));
        turn_back(&log).unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "4");
        fs::write(part(&log, 1), "x").unwrap();
        remove(&log);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    fn check(log: &str, words: &str) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("0.log");
        fs::write(&file, log).unwrap();
        assert_eq!(last_words(&file), words);
    }

    #[test]
    fn last_words_are_the_end_of_the_log() {
        check("", "");
        check("T stdout F one\nT stderr F two words\n", "one\ntwo words\n");
        check("T stdout P half\nT stdout F  whole\n", "half whole\n");
        let many: String = (0..100).map(|number| format!("T stdout F {number}\n")).collect();
        let last: String = (20..100).map(|number| format!("{number}\n")).collect();
        check(&many, &last);
        check(&format!("T stdout F {}\n", "é".repeat(3000)), &format!("{}\n", "é".repeat(1023)));
    }
}
