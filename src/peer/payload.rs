//! What the first bytes of an RTP payload say about the picture in it. Nothing is decoded.

use crate::terms::Codec;

/// NAL units of H.264 (RFC 6184, section 5.2) in which or with which a keyframe begins.
const IDR: u8 = 5;
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Whether decoding can begin with this packet. Sound can be begun with anywhere.
pub(crate) fn begins_keyframe(codec: Codec, payload: &[u8]) -> bool {
    let begins = match codec {
        Codec::Opus => Some(true),
        Codec::Vp8 => vp8(payload),
        Codec::Vp9 => vp9(payload),
        Codec::H264 => h264(payload),
        // The aggregation header's N: a new coded video sequence begins (AV1 RTP, section 4.4).
        Codec::Av1 => payload.first().map(|header| header & 0x08 != 0),
    };
    begins.unwrap_or(false)
}

/// RFC 7741, section 4.2: the payload descriptor; section 4.3: P is 0 in keyframes.
fn vp8(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    let mut at = 1;
    if first & 0x80 != 0 {
        let extensions = *payload.get(at)?;
        at += 1;
        if extensions & 0x80 != 0 {
            // A picture id of 7 or of 15 bits.
            at += if *payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(extensions & 0x40 != 0);
        at += usize::from(extensions & 0x30 != 0);
    }
    let begins_partition_zero = first & 0x10 != 0 && first & 0x07 == 0;
    Some(begins_partition_zero && payload.get(at)? & 0x01 == 0)
}

/// RFC 9628, section 4.2: the first packet (B) of a frame that is not predicted from another (P), in the lowest layer.
fn vp9(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    let mut at = 1;
    if first & 0x80 != 0 {
        at += if *payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    let lowest = first & 0x20 == 0 || payload.get(at)? & 0x0e == 0;
    Some(first & 0x40 == 0 && first & 0x08 != 0 && lowest)
}

fn h264(payload: &[u8]) -> Option<bool> {
    let begins = |header: u8| matches!(header & 0x1f, IDR | SPS);
    Some(match payload.first()? & 0x1f {
        // Section 5.7.1: a size of two bytes before each unit.
        STAP_A => {
            let mut rest = payload.get(1..)?;
            while let Some((&[high, low], unit)) = rest.split_first_chunk::<2>() {
                if unit.first().is_some_and(|header| begins(*header)) {
                    return Some(true);
                }
                rest = unit.get(usize::from(u16::from_be_bytes([high, low]))..)?;
            }
            false
        }
        // Section 5.8: S marks the first fragment.
        FU_A => payload.get(1).is_some_and(|header| header & 0x80 != 0 && begins(*header)),
        _ => begins(*payload.first()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_are_known_by_their_first_bytes() {
        for (codec, payload, expected) in [
            (Codec::Opus, &[0xfc][..], true),
            (Codec::Vp8, &[0x10, 0x50], true),
            (Codec::Vp8, &[0x10, 0x51], false),
            (Codec::Vp8, &[0x00, 0x50], false),
            (Codec::Vp8, &[0x11, 0x50], false),
            // With a picture id of 15 bits, TL0PICIDX, and TID with KEYIDX.
            (Codec::Vp8, &[0x90, 0xe0, 0x81, 0x23, 7, 0x20, 0x50], true),
            (Codec::Vp8, &[0x90, 0xe0, 0x81, 0x23, 7, 0x20, 0x51], false),
            (Codec::Vp8, &[0x90, 0x80, 0x12, 0x50], true),
            (Codec::Vp9, &[0x88, 0x12], true),
            (Codec::Vp9, &[0xc8, 0x12], false),
            (Codec::Vp9, &[0x80, 0x12], false),
            (Codec::Vp9, &[0xa8, 0x92, 0x34, 0x10], true),
            (Codec::Vp9, &[0xa8, 0x92, 0x34, 0x12], false),
            (Codec::H264, &[0x67, 0x42], true),
            (Codec::H264, &[0x65, 0x88], true),
            (Codec::H264, &[0x61, 0x88], false),
            (Codec::H264, &[0x78, 0, 2, 0x06, 1, 0, 1, 0x67], true),
            (Codec::H264, &[0x78, 0, 2, 0x06, 1, 0, 1, 0x61], false),
            (Codec::H264, &[0x7c, 0x85, 1], true),
            (Codec::H264, &[0x7c, 0x05, 1], false),
            (Codec::H264, &[0x7c, 0x81, 1], false),
            (Codec::Av1, &[0x18, 1], true),
            (Codec::Av1, &[0x10, 1], false),
        ] {
            assert_eq!(begins_keyframe(codec, payload), expected, "{codec} {payload:x?}");
        }
    }

    #[test]
    fn what_is_cut_off_begins_nothing() {
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1] {
            assert!(!begins_keyframe(codec, &[]), "{codec}");
        }
        for payload in [&[0x90][..], &[0x90, 0x80], &[0x90, 0xf0, 0x81, 0x23, 7], &[0x10]] {
            assert!(!begins_keyframe(Codec::Vp8, payload), "{payload:x?}");
        }
        for payload in [&[0x78][..], &[0x78, 0xff], &[0x78, 0xff, 0xff, 0x06], &[0x7c]] {
            assert!(!begins_keyframe(Codec::H264, payload), "{payload:x?}");
        }
        assert!(!begins_keyframe(Codec::Vp9, &[0xa8, 0x92]));
    }
}
