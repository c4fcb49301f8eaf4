//! How large a picture may become before it has its end: a depayloader keeps what it has of one for as long as more of it comes.
//!
//! Pure; it looks at packets as they go in. It follows what GStreamer's depayloaders wait for, and not what a payload's own
//! description says: those of VP8, VP9 and AV1 hand a picture on at its marker, whatever its timestamp; that of H.264 joins fragments of
//! one unit (RFC 6184, section 5.8) until the last one comes, and units until the marker or another timestamp.

use crate::terms::{Codec, MediaKind};

/// More than the largest keyframe of 4096x4096.
pub(super) const LARGEST: usize = 16 << 20;

/// What is held of a picture.
#[derive(Clone, Debug, Default)]
pub(super) struct Unfinished {
    picture: usize,
    /// Of a unit of H.264 that comes in fragments.
    unit: usize,
    timestamp: [u8; 4],
}

impl Unfinished {
    /// Whether the picture is still none too large with this RTP packet.
    pub(super) fn admits(&mut self, codec: Codec, packet: &[u8]) -> bool {
        let Some((marker, timestamp, payload)) = read(packet).filter(|_| codec.kind() == MediaKind::Video) else {
            return true;
        };
        if codec == Codec::H264 {
            const FU_A: u8 = 28;
            const FU_B: u8 = 29;
            let fragment = payload.first().is_some_and(|unit| matches!(unit & 0x1f, FU_A | FU_B));
            let (starts, ends) = payload.get(1).map_or((true, true), |header| (header & 0x80 != 0, header & 0x40 != 0));
            self.unit = match (fragment, starts, ends) {
                (true, false, false) => self.unit + payload.len(),
                (true, true, false) => payload.len(),
                _ => 0,
            };
            if timestamp != self.timestamp {
                self.picture = 0;
            }
        }
        self.timestamp = timestamp;
        self.picture += payload.len();
        let admitted = self.picture.max(self.unit) <= LARGEST;
        if marker || !admitted {
            self.picture = 0;
        }
        if !admitted {
            self.unit = 0;
        }
        admitted
    }
}

/// Marker, timestamp and payload (RFC 3550, section 5.1), with the padding.
pub(super) fn read(packet: &[u8]) -> Option<(bool, [u8; 4], &[u8])> {
    let (first, second) = (*packet.first()?, *packet.get(1)?);
    let timestamp = *packet.get(4..)?.first_chunk()?;
    let mut rest = packet.get(12 + 4 * usize::from(first & 0x0f)..)?;
    if first & 0x10 != 0 {
        let words = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]);
        rest = rest.get(4 + 4 * usize::from(words)..)?;
    }
    Some((second & 0x80 != 0, timestamp, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: usize = 1000;

    fn packet(marker: bool, timestamp: u32, start: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, u8::from(marker) << 7 | 96, 0, 1];
        packet.extend(timestamp.to_be_bytes());
        packet.extend([0, 0, 0, 1]);
        packet.extend(start);
        packet.resize(12 + PAYLOAD, 0);
        packet
    }

    /// After how many packets one is refused, of at most so many.
    fn refused(codec: Codec, most: usize, packet: impl Fn(usize) -> Vec<u8>) -> Option<usize> {
        let mut unfinished = Unfinished::default();
        (0..most).find(|number| !unfinished.admits(codec, &packet(*number)))
    }

    const LIMIT: usize = LARGEST / PAYLOAD;

    /// With `admits` admitting everything: `None` where the 16777th packet is refused.
    #[test]
    fn a_picture_without_an_end_is_refused_however_it_does_without() {
        for codec in [Codec::Vp8, Codec::Vp9, Codec::Av1] {
            let endless = refused(codec, 2 * LIMIT, |number| packet(false, number as u32, &[0x10]));
            assert_eq!(endless, Some(LIMIT), "{codec}: timestamps end no picture");
        }
        let units = refused(Codec::H264, 2 * LIMIT, |_| packet(false, 7, &[0x41]));
        assert_eq!(units, Some(LIMIT), "units of one picture");
        let fragments = refused(Codec::H264, 2 * LIMIT, |number| packet(true, number as u32, &[0x7c, 0x05]));
        assert_eq!(fragments, Some(LIMIT), "neither markers nor timestamps end a unit");
    }

    #[test]
    fn pictures_that_end_are_taken_for_ever() {
        let most = 4 * LIMIT;
        for codec in [Codec::Vp8, Codec::Vp9, Codec::Av1] {
            assert_eq!(refused(codec, most, |number| packet(number % 500 == 0, 0, &[0x10])), None, "{codec}");
        }
        // The marker is lost now and then.
        assert_eq!(refused(Codec::H264, most, |number| packet(false, (number / 500) as u32, &[0x41])), None);
        let fragment = |number: usize| [0x7c, [0x85, 0x05, 0x05, 0x45][number % 4]];
        assert_eq!(
            refused(Codec::H264, most, |number| packet(number % 4 == 3, (number / 4) as u32, &fragment(number))),
            None
        );
        assert_eq!(refused(Codec::Opus, most, |_| packet(false, 0, &[])), None);
    }

    #[test]
    fn what_is_cut_off_is_left_to_others() {
        let mut unfinished = Unfinished::default();
        let mut whole = packet(false, 0, &[0x7c, 0x05]);
        (whole[0], whole[12], whole[13], whole[14], whole[15]) = (0x9f, 0xbe, 0xde, 0xff, 0xff);
        for length in 0..whole.len() {
            assert!(unfinished.admits(Codec::H264, &whole[..length]));
        }
    }
}
