//! Whether something is mounted at a path.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Something is mounted here: it lies on another file system than the directory that holds it. Nothing is where there is
/// nothing.
pub fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| fs::symlink_metadata(path).ok().map(|it| it.dev());
    let (here, above) = (device(path), path.parent().and_then(device));
    here.is_some() && here != above
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_something_is_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/proc", &link).unwrap();
        let check = |path: &Path, expected: bool| assert_eq!(is_mounted(path), expected, "{}", path.display());
        check(Path::new("/"), true);
        check(Path::new("/proc"), true);
        check(dir.path(), false);
        check(&dir.path().join("missing"), false);
        check(&dir.path().join("missing/deeper"), false);
        check(&link, false);
        check(Path::new(""), false);
    }
}
