//! The boxes at the top of an MP4 (ISO/IEC 14496-12, section 4.2).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Whether an MP4 is one plain whole: an index, no fragments, and nothing cut off.
///
/// # Errors
/// What the file system says.
pub(super) fn is_plain(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let (mut at, mut index) = (0, false);
    while at < length {
        let Some((kind, size)) = header(&mut file, at, length)? else { return Ok(false) };
        match &kind {
            b"moof" => return Ok(false),
            b"moov" => index = true,
            _ => {}
        }
        at += size;
    }
    Ok(index)
}

/// The kind and size of the box at `at`; `None` when it does not fit into the file.
fn header(file: &mut File, at: u64, length: u64) -> io::Result<Option<([u8; 4], u64)>> {
    let left = length - at;
    if left < 8 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(at))?;
    let (mut short, mut kind) = ([0; 4], [0; 4]);
    file.read_exact(&mut short)?;
    file.read_exact(&mut kind)?;
    let size = match u32::from_be_bytes(short) {
        // Up to the end of the file.
        0 => left,
        1 if left >= 16 => {
            let mut long = [0; 8];
            file.read_exact(&mut long)?;
            u64::from_be_bytes(long)
        }
        size => u64::from(size),
    };
    Ok((8..=left).contains(&size).then_some((kind, size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(bytes: &[&[u8]]) -> bool {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.mp4");
        std::fs::write(&path, bytes.concat()).unwrap();
        is_plain(&path).unwrap()
    }

    fn of(kind: &[u8; 4], payload: usize) -> Vec<u8> {
        let size = u32::try_from(8 + payload).unwrap().to_be_bytes();
        [&size[..], kind, &vec![0; payload]].concat()
    }

    #[test]
    fn only_a_whole_file_with_an_index_and_without_fragments_is_plain() {
        let (ftyp, moov, mdat, moof) = (of(b"ftyp", 16), of(b"moov", 100), of(b"mdat", 50), of(b"moof", 20));
        assert!(plain(&[&ftyp, &moov, &mdat]));
        assert!(plain(&[&ftyp, &mdat, &moov]), "the index may come last");
        assert!(!plain(&[&ftyp, &moov, &moof, &mdat]), "fragmented");
        assert!(!plain(&[&ftyp, &mdat]), "no index");
        assert!(!plain(&[&ftyp, &moov, &mdat[..30]]), "cut off in the middle");
        assert!(!plain(&[&ftyp, &moov, &[0, 0, 0]]), "cut off in a header");
        assert!(!plain(&[&ftyp, &[0, 0, 0, 4], b"moov"]), "a box that is smaller than its header");
        assert!(!plain(&[]), "empty");
    }

    #[test]
    fn large_boxes_and_those_up_to_the_end_are_understood() {
        let large = [&[0, 0, 0, 1], &b"mdat"[..], &24_u64.to_be_bytes(), &[0; 8]].concat();
        assert!(plain(&[&of(b"moov", 10), &large]));
        assert!(plain(&[&of(b"moov", 10), &[0, 0, 0, 0], b"mdat", &[0; 99]]));
        let endless = [&[0, 0, 0, 1], &b"mdat"[..], &u64::MAX.to_be_bytes()].concat();
        assert!(!plain(&[&of(b"moov", 10), &endless]));
    }
}
