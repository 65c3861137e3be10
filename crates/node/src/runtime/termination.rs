//! What a container has left in the file for its last words.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// As much as a kubelet takes, of the file's end.
const BYTES_MAX: u64 = 4096;

/// Empty if there is nothing to read. The file may be as long as the disk lets it.
pub fn termination_message(file: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|mut file| {
        let begin = file.metadata()?.len().saturating_sub(BYTES_MAX);
        file.seek(SeekFrom::Start(begin))?;
        file.take(BYTES_MAX).read_to_end(&mut bytes)
    });
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn the_end_is_what_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("termination-log");
        assert_eq!(termination_message(&path), "");
        std::fs::write(&path, "farewell").unwrap();
        assert_eq!(termination_message(&path), "farewell");
        // A hole: more than any machine has memory for.
        let long: u64 = 1 << 43;
        File::options().write(true).open(&path).unwrap().write_all_at(b"end", long).unwrap();
        let message = termination_message(&path);
        assert_eq!((message.len(), message.trim_start_matches('\0')), (BYTES_MAX as usize, "end"));
    }
}
