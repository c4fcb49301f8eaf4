//! Which of a participant's pictures a file can begin with.

use gstreamer as gst;

/// The type of a sequence header (AV1 specification, section 6.2.2).
const SEQUENCE_HEADER: u8 = 1;

/// Whether decoding can begin with this buffer. GStreamer says so, except for AV1: its depayloader marks nothing, but senders put
/// a sequence header in front of every keyframe.
pub(super) fn is_keyframe(buffer: &gst::Buffer, caps: &gst::Caps) -> bool {
    let is_av1 = caps.structure(0).is_some_and(|form| form.name() == "video/x-av1");
    if is_av1 {
        return buffer.map_readable().is_ok_and(|bytes| has_sequence_header(&bytes));
    }
    !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT)
}

/// Walks through the OBUs of a temporal unit (AV1 specification, section 5.3).
fn has_sequence_header(mut bytes: &[u8]) -> bool {
    while let Some((&header, rest)) = bytes.split_first() {
        if header >> 3 & 0x0f == SEQUENCE_HEADER {
            return true;
        }
        let (extended, sized) = (header & 0x04 != 0, header & 0x02 != 0);
        let rest = rest.get(usize::from(extended)..).unwrap_or_default();
        // Without a size it is the last one.
        let Some((size, after)) = sized.then(|| leb128(rest)).flatten() else { return false };
        bytes = after.get(size..).unwrap_or_default();
    }
    false
}

/// A number of seven bits in each byte, the lowest first (section 4.10.5).
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0usize;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f).checked_shl(u32::try_from(7 * index).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporal_unit_with_a_sequence_header_is_a_keyframe() {
        // Temporal delimiter, sequence header of three bytes, frame.
        assert!(has_sequence_header(&[0x12, 0, 0x0a, 3, 1, 2, 3, 0x32, 1, 9]));
        // Temporal delimiter and a frame whose content looks like a sequence header.
        assert!(!has_sequence_header(&[0x12, 0, 0x32, 2, 0x0a, 0]));
        assert!(!has_sequence_header(&[0x12, 0, 0x30, 0x0a, 0]));
        // An extension byte, and a size of two bytes.
        let mut unit = vec![0x36, 0x20, 0x80, 0x01];
        unit.extend([0; 128]);
        unit.extend([0x0a, 0]);
        assert!(has_sequence_header(&unit));
        for length in 0..unit.len() {
            has_sequence_header(&unit[..length.min(131)]);
        }
        assert!(!has_sequence_header(&[0x32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
    }
}
