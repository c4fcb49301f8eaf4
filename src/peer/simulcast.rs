//! A track that comes in several layers, made into one stream: one source, numbers and timestamps that go on from layer to
//! layer, sender reports that fit them. Pure, but for the time that it is told.
//!
//! Whoever reads the track sees a sender whose picture changes its size now and then, always at a keyframe.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::layers::{LayerChoice, Verdict};
use super::packet::RtpPacket;
use crate::rtp::{Splice, begins_keyframe};
use crate::terms::Ssrc;

/// RTCP packets (RFC 3550, section 12.1).
const SENDER_REPORT: u8 = 200;
const SOURCE_DESCRIPTION: u8 = 202;

/// The layers of one track.
#[derive(Debug)]
pub(crate) struct Simulcast {
    /// The source that is shown for all of them: that of the first packet.
    shown: Ssrc,
    choice: LayerChoice,
    splice: Splice,
}

impl Simulcast {
    pub(crate) fn new(shown: Ssrc, clock_rate: u32, now: Instant) -> Self {
        Self { shown, choice: LayerChoice::new(now), splice: Splice::new(clock_rate) }
    }

    /// The packet at its place in the stream; `None` when it is of another layer, or useless.
    pub(crate) fn take(&mut self, packet: RtpPacket, now: Instant) -> Option<RtpPacket> {
        let codec = packet.codec()?;
        let ssrc = packet.ssrc();
        let keyframe = begins_keyframe(codec, packet.payload());
        match self.choice.take(ssrc, packet.payload().len(), keyframe, now) {
            Verdict::Drop => return None,
            Verdict::Switch => {
                tracing::debug!(%ssrc, "takes another layer of the simulcast");
                self.splice.end_source();
            }
            Verdict::Pass => {}
        }
        let place = self.splice.place(ssrc, packet.sequence_number(), packet.timestamp(), now)?;
        Some(packet.renumbered(place.sequence_number, place.timestamp).of_source(self.shown))
    }

    /// The source to ask when a keyframe is needed.
    pub(crate) fn keyframe_source(&self) -> Ssrc {
        self.choice.keyframe_source().unwrap_or(self.shown)
    }

    /// Whether a better layer waits for a keyframe, which is to be asked for now.
    pub(crate) fn asks(&mut self, now: Instant) -> bool {
        self.choice.asks(now)
    }

    /// Whether a source is one of the layers.
    pub(crate) fn knows(&self, ssrc: Ssrc) -> bool {
        self.choice.knows(ssrc)
    }

    /// A compound packet with a report of one of the layers, in the numbers of the stream; `None` when it is of one that
    /// is not taken.
    pub(crate) fn report(&self, ssrc: Ssrc, compound: &[u8]) -> Option<(Ssrc, Bytes)> {
        if self.choice.current() != Some(ssrc) {
            return None;
        }
        let mut bytes = BytesMut::from(compound);
        let mut at = 0;
        while let Some(&[_, kind, high, low]) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) {
            let source = word(&bytes, at + 4);
            if kind == SENDER_REPORT && source == Some(ssrc.0) {
                let timestamp = self.splice.timestamp(ssrc, word(&bytes, at + 16)?)?;
                write(&mut bytes, at + 16, timestamp);
            }
            if matches!(kind, SENDER_REPORT | SOURCE_DESCRIPTION) && source == Some(ssrc.0) {
                write(&mut bytes, at + 4, self.shown.0);
            }
            at += (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        }
        Some((self.shown, bytes.freeze()))
    }
}

/// A simulcast whose reader chooses from it, while its connection translates the reports about it.
pub(crate) type SharedSimulcast = Arc<Mutex<Simulcast>>;

/// Those of a connection's tracks that come in layers.
#[derive(Debug, Default)]
pub(crate) struct Simulcasts(Vec<Weak<Mutex<Simulcast>>>);

impl Simulcasts {
    /// A track began; if it comes in layers, until its reader is gone.
    pub(crate) fn add(&mut self, simulcast: Option<&SharedSimulcast>) {
        self.0.retain(|known| known.strong_count() > 0);
        self.0.extend(simulcast.map(Arc::downgrade));
    }

    /// A report in the numbers that the readers of its track see; `None` when nobody sees its source.
    pub(crate) fn as_shown(&self, ssrc: Ssrc, compound: Bytes) -> Option<(Ssrc, Bytes)> {
        for simulcast in self.0.iter().filter_map(Weak::upgrade) {
            let simulcast = simulcast.lock().unwrap_or_else(PoisonError::into_inner);
            if simulcast.knows(ssrc) {
                return simulcast.report(ssrc, &compound);
            }
        }
        Some((ssrc, compound))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}

fn write(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *place = value.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::terms::Codec;

    const KEY: &[u8] = &[0x10, 0x50];
    const LOW: Ssrc = Ssrc(1);
    const HIGH: Ssrc = Ssrc(2);

    fn packet(ssrc: Ssrc, sequence_number: u16, timestamp: u32, key: bool, size: usize) -> RtpPacket {
        let mut bytes = vec![0x80, 96];
        bytes.extend(sequence_number.to_be_bytes());
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend(ssrc.0.to_be_bytes());
        bytes.extend(if key { KEY } else { &[0x10, 0x51] });
        bytes.resize(bytes.len() + size, 0);
        RtpPacket::parse(Bytes::from(bytes)).unwrap().with_codec(Codec::Vp8)
    }

    fn report(ssrc: Ssrc, timestamp: u32) -> Vec<u8> {
        let mut bytes = vec![0x80, SENDER_REPORT, 0, 6];
        bytes.extend(ssrc.0.to_be_bytes());
        bytes.extend([9; 8]);
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend([0x81, SOURCE_DESCRIPTION, 0, 2]);
        bytes.extend(ssrc.0.to_be_bytes());
        bytes.extend([1, 1, b'c', 0]);
        bytes
    }

    #[test]
    fn layers_become_one_stream_with_fitting_reports() {
        let start = Instant::now();
        let mut simulcast = Simulcast::new(LOW, 90_000, start);
        let mut sent = Vec::new();
        let (mut now, mut asked) = (start, 0);
        for number in 0..20_u16 {
            now += Duration::from_millis(100);
            let ticks = u32::from(number) * 9000;
            sent.extend(simulcast.take(packet(LOW, 100 + number, ticks, number == 0, 100), now));
            assert!(simulcast.take(packet(HIGH, 7000 + number, 500_000 + ticks, false, 1000), now).is_none());
            asked += u32::from(simulcast.asks(now));
        }
        assert!(asked > 0 && simulcast.keyframe_source() == HIGH);
        assert_eq!(sent.len(), 20);
        now += Duration::from_millis(100);
        // What was sent before its keyframe is of no use, even if it comes late.
        sent.extend(simulcast.take(packet(HIGH, 7020, 680_000, true, 1000), now));
        sent.extend(simulcast.take(packet(HIGH, 7019, 671_000, false, 1000), now));
        sent.extend(simulcast.take(packet(HIGH, 7021, 689_000, false, 1000), now + Duration::from_millis(100)));
        let numbers: Vec<u16> = sent.iter().map(RtpPacket::sequence_number).collect();
        assert_eq!(numbers, (100..122).collect::<Vec<_>>());
        assert!(sent.iter().all(|packet| packet.ssrc() == LOW));
        let steps = sent.windows(2).map(|two| two[1].timestamp() - two[0].timestamp());
        assert!(steps.clone().all(|step| step == 9000), "{:?}", steps.collect::<Vec<_>>());

        assert_eq!(simulcast.report(LOW, &report(LOW, 0)), None, "it is not taken");
        let last = sent[21].timestamp();
        assert_eq!(simulcast.report(HIGH, &report(HIGH, 689_000)), Some((LOW, Bytes::from(report(LOW, last)))));
        for cut in 0..report(HIGH, 0).len() {
            simulcast.report(HIGH, &report(HIGH, 0)[..cut]);
        }
    }
}
