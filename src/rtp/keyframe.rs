//! Where decoding can begin: which packets start a keyframe. Pure.

use crate::terms::Codec;

/// Whether a payload starts a keyframe, or what a decoder needs in front of one. For sound: always.
pub(crate) fn begins_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Opus => true,
        Codec::Vp8 => vp8(payload).unwrap_or(false),
        Codec::H264 => h264(payload).unwrap_or(false),
        Codec::Vp9 => vp9(payload).unwrap_or(false),
        // N: the first packet of a coded video sequence (AV1 RTP specification, section 4.4).
        Codec::Av1 => payload.first().is_some_and(|first| first & 0x08 != 0),
    }
}

/// Start of the first partition, and P = 0 in the frame header (RFC 7741, sections 4.2 and 4.3).
fn vp8(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    let starts = first & 0x10 != 0 && first & 0x07 == 0;
    let mut header = 1;
    if first & 0x80 != 0 {
        let extensions = *payload.get(1)?;
        header += 1;
        if extensions & 0x80 != 0 {
            header += if payload.get(2)? & 0x80 != 0 { 2 } else { 1 };
        }
        header += usize::from(extensions & 0x40 != 0) + usize::from(extensions & 0x30 != 0);
    }
    Some(starts && payload.get(header)? & 0x01 == 0)
}

/// A parameter set or an IDR picture's first packet, alone or in front of others (RFC 6184, section 5.2).
fn h264(payload: &[u8]) -> Option<bool> {
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let begins = |unit: u8| matches!(unit & 0x1f, 5 | 7);
    Some(match payload.first()? & 0x1f {
        // Section 5.7.1: a size of two bytes before each unit. What a sender says about the picture may stand in front of the sets.
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
        FU_A => payload.get(1)? & 0x80 != 0 && begins(*payload.get(1)?),
        unit => begins(unit),
    })
}

/// Start of a frame that predicts from no other, in the lowest spatial layer (RFC 9628, section 4.2).
fn vp9(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    let (picture_id, predicted, layered, starts) =
        (first & 0x80 != 0, first & 0x40 != 0, first & 0x20 != 0, first & 0x08 != 0);
    let mut at = 1;
    if picture_id {
        at += if payload.get(1)? & 0x80 != 0 { 2 } else { 1 };
    }
    // Spatial layer: SID are bits 3 to 1 of the layer indices.
    let lowest = !layered || payload.get(at)? & 0x0e == 0;
    Some(starts && !predicted && lowest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With only the first unit of an aggregate read: `h264 [78, 00, 02, 06, 01, 00, 01, 67]`, SEI before SPS, begins none.
    #[test]
    fn only_what_starts_a_keyframe_begins_one() {
        let cases: [(Codec, &[u8], bool); 31] = [
            (Codec::Vp8, &[0x10, 0x00], true),
            (Codec::Vp8, &[0x10, 0x01], false),
            (Codec::Vp8, &[0x00, 0x00], false),
            (Codec::Vp8, &[0x11, 0x00], false),
            (Codec::Vp8, &[0x90, 0xf0, 0x81, 0x02, 3, 4, 0x10], true),
            (Codec::Vp8, &[0x90, 0xf0, 0x81, 0x02, 3, 4, 0x11], false),
            (Codec::Vp8, &[0x90, 0x80, 0x01, 0x10], true),
            (Codec::Vp8, &[0x90, 0x80], false),
            (Codec::H264, &[0x67, 1, 2], true),
            (Codec::H264, &[0x65], true),
            (Codec::H264, &[0x41], false),
            (Codec::H264, &[0x78, 0, 2, 0x67, 1], true),
            (Codec::H264, &[0x78, 0, 2, 0x41, 1], false),
            (Codec::H264, &[0x7c, 0x85], true),
            (Codec::H264, &[0x7c, 0x05], false),
            (Codec::H264, &[0x78, 0, 2, 0x06, 1, 0, 1, 0x67], true),
            (Codec::H264, &[0x78, 0, 2, 0x06, 1, 0, 1, 0x61], false),
            (Codec::H264, &[0x78], false),
            (Codec::H264, &[0x78, 0xff], false),
            (Codec::H264, &[0x78, 0xff, 0xff, 0x06], false),
            (Codec::H264, &[0x7c], false),
            (Codec::H264, &[0x7c, 0x81, 1], false),
            (Codec::Vp8, &[0x90, 0xf0, 0x81, 0x23, 7], false),
            (Codec::Vp9, &[0x80, 0x12], false),
            (Codec::Vp9, &[0xa8, 0x92], false),
            (Codec::Vp9, &[0x88, 0x01, 9], true),
            (Codec::Vp9, &[0xc8, 0x01, 9], false),
            (Codec::Vp9, &[0xa8, 0x01, 0x02], false),
            (Codec::Av1, &[0x18], true),
            (Codec::Av1, &[0x10], false),
            (Codec::Opus, &[0xfc], true),
        ];
        for (codec, payload, expected) in cases {
            assert_eq!(begins_keyframe(codec, payload), expected, "{codec} {payload:02x?}");
        }
        for codec in [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1] {
            assert!(!begins_keyframe(codec, &[]), "{codec}");
        }
    }
}
