//! Which files somebody writes: nobody may take them for what a crash has left.
//!
//! A writer holds a lock on its file (`flock`). The kernel lets go of it whatever ends the process, and nothing else does: one that
//! stands still writes it, and so does one of another user.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Says that this process writes a file, for as long as what is returned lives.
///
/// # Errors
/// The file is gone, or its file system knows no locks.
pub(crate) fn begin(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    flock(&file, FlockOperation::NonBlockingLockShared)?;
    Ok(file)
}

/// Whether nobody writes a file, for certain.
pub(crate) fn has_none(path: &Path) -> bool {
    // What is locked meanwhile goes at once: nobody else asks but those who delete.
    File::open(path).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_writer_until_the_last_one_lets_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        assert!(begin(&path).is_err() && !has_none(&path), "it is not there");
        std::fs::write(&path, "x").unwrap();
        let writers = [begin(&path).unwrap(), begin(&path).unwrap()];
        let [first, second] = writers;
        drop(first);
        let moved = directory.path().join("b");
        std::fs::rename(&path, &moved).unwrap();
        assert!(!has_none(&moved), "wherever it is");
        drop(second);
        assert!(has_none(&moved) && begin(&moved).is_ok());
    }
}
