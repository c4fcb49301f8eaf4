//! The sizes inside AV1's payloads (AV1 RTP specification, section 4.4), which gst-plugins-rs' depayloader believes: in the middle of an OBU it
//! makes room for as much as four gigabytes because a packet of ten bytes says so. Pure.

/// A size is a number of seven bits in each byte (AV1 specification, section 4.10.5); five bytes are 32 bits, and more than that
/// overflows in the depayloader.
const LONGEST_SIZE: usize = 5;

/// Whether every size in a payload leads to no further than the payload's end.
pub(super) fn fit(payload: &[u8]) -> bool {
    let Some((&header, mut rest)) = payload.split_first() else { return true };
    let continues = header & 0x80 != 0;
    // W: how many elements there are, of which the last has no size; 0: all have one.
    let count = usize::from(header >> 4 & 0x03);
    let mut index = 0;
    while !rest.is_empty() {
        index += 1;
        let element = if index == count {
            std::mem::take(&mut rest)
        } else {
            let Some((size, after)) = leb128(rest) else { return false };
            let Some((element, after)) = after.split_at_checked(size) else { return false };
            rest = after;
            element
        };
        // What begins with the middle of an OBU has no header.
        let has_header = index > 1 || !continues;
        if has_header && !header_fits(element) {
            return false;
        }
    }
    true
}

/// Whether the size in an OBU's header is one, if it has any (section 5.3.2). It may be that of an OBU of which this is the beginning.
fn header_fits(obu: &[u8]) -> bool {
    let Some(&header) = obu.first() else { return true };
    let after = if header & 0x04 != 0 { 2 } else { 1 };
    header & 0x02 == 0 || obu.get(after..).is_none_or(|rest| rest.is_empty() || leb128(rest).is_some())
}

/// A size, and what comes after it.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let length = bytes.iter().take(LONGEST_SIZE).position(|byte| byte & 0x80 == 0)? + 1;
    let (number, rest) = bytes.split_at_checked(length)?;
    let size = number.iter().rev().fold(0_usize, |size, byte| size << 7 | usize::from(byte & 0x7f));
    Some((size, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_lead_beyond_the_payload_are_found_and_those_of_encoders_are_not() {
        for (what, payload, expected) in [
            ("nothing", &[][..], true),
            ("a header alone", &[0x10], true),
            ("one element without a size", &[0x18, 0x0a, 0x01, 0x00], true),
            ("its beginning, with the size of the whole", &[0x58, 0x32, 0xff, 0x7f, 1, 2], true),
            ("two elements, the first with a size", &[0x28, 3, 0x0a, 0x01, 0x00, 0x30, 1, 2], true),
            ("all with a size", &[0x08, 3, 0x0a, 0x01, 0x00, 2, 0x30, 1], true),
            ("the middle of an OBU, which may look like anything", &[0x90, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], true),
            ("the end of an OBU and a whole one", &[0xa0, 2, 0xff, 0xff, 0x30, 1], true),
            ("an end of two gigabytes", &[0xa0, 0x80, 0x80, 0x80, 0x80, 0x08, 1, 2], false),
            ("one byte too many", &[0x28, 4, 1, 2, 3], false),
            ("a size of six bytes", &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], false),
            ("a size that is cut off", &[0x08, 0x80], false),
            ("a header's size of six bytes", &[0x18, 0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], false),
        ] {
            assert_eq!(fit(payload), expected, "{what}: {payload:02x?}");
        }
    }
}
