//! What a power cut does not take: files and directory entries that the disk has for certain.
//!
//! These calls wait for the disk, for seconds when it is busy: they run on blocking threads, and nothing that carries media waits for
//! them.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Instant;

/// Waits until the disk has what was written to a file, by whomever.
///
/// # Errors
/// The file is gone, or the disk could not take what was written: then it is lost.
pub(crate) fn data(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    // What comes after this moment may be there, or not.
    let (bytes, began) = (file.metadata()?.len(), Instant::now());
    file.sync_data()?;
    tracing::trace!(path = %path.display(), bytes, seconds = began.elapsed().as_secs_f64(), "the disk has it");
    Ok(())
}

/// Waits until the disk has the name of a new or renamed file. Without it a whole file may be gone after a power cut.
///
/// # Errors
/// The directory is gone, or the disk does not take it.
pub(crate) fn name(path: &Path) -> io::Result<()> {
    match File::open(parent(path))?.sync_all() {
        // Some network file systems know no such call, and have the name anyway.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        done => done,
    }
}

/// The directory of a file: this one when its path names none.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_its_name_are_synced_and_one_that_is_gone_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        assert!(data(&path).is_err());
        std::fs::write(&path, "x").unwrap();
        data(&path).unwrap();
        name(&path).unwrap();
        name(Path::new("Cargo.toml")).unwrap();
        assert!(name(Path::new("/nowhere/at/all")).is_err());
    }
}
