//! Packets of any senders on their way through a lane: what `output::fuzzing` calls for it.
//!
//! A step is a byte that says what happens and whose packet it is, and what belongs to it.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::lane::{Lane, payload_type};
use crate::rtp::fuzzing::Steps;
use crate::rtp::{Capture, Packet, TrackId};
use crate::terms::{Codec, MediaKind, Ssrc};

/// A payload is at most what a datagram holds.
const LARGEST: usize = 1500;

pub(in super::super) fn fuzz_lane(input: &[u8]) {
    const OURS: Ssrc = Ssrc(0x0102_0304);
    let mut steps = Steps(input);
    let kind = if steps.byte() & 1 == 0 { MediaKind::Video } else { MediaKind::Audio };
    let codecs: Vec<_> = Codec::ALL.into_iter().filter(|codec| codec.kind() == kind).collect();
    let tracks = [TrackId::unique(), TrackId::unique()];
    let (mut lane, mut now) = (Lane::new(kind, OURS, Duration::from_secs(2)), Instant::now());
    let (mut buffer, mut asked, mut last) = (Vec::new(), None::<Instant>, None::<u16>);
    while !steps.is_over() {
        let step = steps.byte();
        now += Duration::from_millis(u64::from(step >> 5) * 40);
        let ssrc = Ssrc(u32::from(step >> 3 & 3));
        match step & 7 {
            0 => lane.want_keyframe(),
            1 => {
                let late = Duration::from_millis(u64::from(steps.byte()) * 4);
                let at = now.checked_sub(late).unwrap_or(now);
                lane.relate(&Capture { ssrc, timestamp: steps.four(), at });
            }
            2 => {
                if lane.report("name", now, SystemTime::now(), &mut buffer) {
                    assert!(lane.is_related() && buffer[..8] == [0x80, 200, 0, 6, 1, 2, 3, 4], "{buffer:?}");
                }
            }
            what => {
                let codec = codecs[usize::from(steps.byte()) % codecs.len()];
                let (sequence_number, timestamp) = (steps.two(), steps.four());
                let payload = steps.sized();
                let payload = Bytes::copy_from_slice(&payload[..payload.len().min(LARGEST)]);
                let (track, marker) = (tracks[usize::from(what & 1)], what & 2 != 0);
                let packet = Packet { track, codec, ssrc, sequence_number, timestamp, marker, payload };
                let taken = lane.take(&packet, now, &mut buffer);
                if taken.wish.keyframe {
                    let pause = asked.map(|asked| now.saturating_duration_since(asked));
                    assert!(pause.is_none_or(|pause| pause >= Duration::from_secs(1)), "asked again after {pause:?}");
                    asked = Some(now);
                }
                assert!(!taken.new_form || lane.form().is_some_and(|form| form.codec == codec));
                if taken.send {
                    assert!(
                        buffer[0] == 0x80 && buffer[1] & 0x7f == payload_type(codec) && buffer[8..12] == [1, 2, 3, 4]
                    );
                    assert_eq!(buffer[12..], packet.payload);
                    let number = u16::from_be_bytes([buffer[2], buffer[3]]);
                    assert_ne!(last, Some(number), "two packets of one number");
                    last = Some(number);
                }
            }
        }
    }
}
