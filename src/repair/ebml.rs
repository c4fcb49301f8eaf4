//! The head of a Matroska file (RFC 8794, section 4; RFC 9559, section 5.1).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const EBML: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];
const SEGMENT: [u8; 4] = [0x18, 0x53, 0x80, 0x67];

/// Whether the segment says how long it is and is all there: a muxer fills that in at the end, with the index.
///
/// # Errors
/// What the file system says.
pub(super) fn has_end(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(4096).read_to_end(&mut head)?;
    let length = std::fs::metadata(path)?.len();
    let segment = || {
        let (size, header) = size(head.strip_prefix(&EBML)?)?;
        let segment = header.get(usize::try_from(size?).ok()?..)?;
        let (size, content) = self::size(segment.strip_prefix(&SEGMENT)?)?;
        let start = u64::try_from(head.len() - content.len()).ok()?;
        Some(start.checked_add(size?)? <= length)
    };
    Ok(segment().unwrap_or(false))
}

/// A variable-size integer, `None` in it when it says "unknown", and what follows it.
fn size(bytes: &[u8]) -> Option<(Option<u64>, &[u8])> {
    let first = *bytes.first()?;
    let width = first.leading_zeros() as usize + 1;
    let (number, rest) = bytes.split_at_checked(width).filter(|_| width <= 8)?;
    let mask = (1_u64 << (7 * width)) - 1;
    let value = number.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)) & mask;
    Some(((value != mask).then_some(value), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(segment_size: &[u8], content: usize) -> bool {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.mkv");
        let bytes = [&EBML[..], &[0x83, 1, 2, 3], &SEGMENT, segment_size, &vec![0; content]].concat();
        std::fs::write(&path, bytes).unwrap();
        has_end(&path).unwrap()
    }

    #[test]
    fn a_segment_without_a_size_or_longer_than_the_file_has_no_end() {
        assert!(whole(&[0x01, 0, 0, 0, 0, 0, 0, 100], 100));
        assert!(whole(&[0x40, 100], 100), "sizes have any width");
        assert!(!whole(&[0x01, 0, 0, 0, 0, 0, 0, 100], 99), "cut off");
        assert!(!whole(&[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 100), "unknown");
        assert!(!whole(&[0xff], 100), "unknown in one byte");
        assert!(!whole(&[0x00], 0) && !whole(&[], 0), "nothing");
    }
}
