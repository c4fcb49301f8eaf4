//! What somebody sends, packet by packet, and how it can be made odd.

use std::time::Duration;

use roomcast::terms::{Codec, MediaKind};

use crate::material::Media;

/// When sound and pictures are reported of first, and how often, in seconds: browsers report of sound late and seldom too.
pub(crate) const REPORTS: [(f64, f64); 2] = [(2.3, 2.0), (0.5, 0.5)];
/// The sender's wall clock at its beginning, in seconds.
const NTP: f64 = 3_900_000_000.0;

/// Something that is sent at a certain time.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: f64,
    pub(crate) codec: Codec,
    /// A sender report and no media.
    pub(crate) report: bool,
    pub(crate) bytes: Vec<u8>,
}

/// Everything that somebody sends, in order.
#[derive(Clone, Debug)]
pub(crate) struct Sender(pub(crate) Vec<Sent>);

impl Sender {
    /// An honest sender of these streams, each with a source of its own.
    pub(crate) fn of(streams: &[&Media]) -> Self {
        let mut all = Vec::new();
        for media in streams {
            let (source, (first, every)) = match media.codec.kind() {
                MediaKind::Audio => (1, REPORTS[0]),
                MediaKind::Video => (2, REPORTS[1]),
            };
            let end = media.packets.last().map_or(0.0, |last| last.at.as_secs_f64());
            for packet in &media.packets {
                let mut bytes = packet.bytes.clone();
                put(&mut bytes, 8, source);
                all.push(Sent { at: packet.at.as_secs_f64(), codec: media.codec, report: false, bytes });
            }
            let rate = f64::from(media.codec.clock_rate());
            let mut at = first;
            while at < end {
                let timestamp = (at * rate) as u64 as u32;
                all.push(Sent { at, codec: media.codec, report: true, bytes: report(source, NTP + at, timestamp) });
                at += every;
            }
        }
        Self(all).sorted()
    }

    fn sorted(mut self) -> Self {
        self.0.sort_by(|a, b| a.at.total_cmp(&b.at));
        self
    }

    fn each(mut self, kind: Option<MediaKind>, change: impl Fn(&mut Sent)) -> Self {
        self.0.iter_mut().filter(|sent| kind.is_none_or(|kind| sent.codec.kind() == kind)).for_each(change);
        self.sorted()
    }

    /// Takes away what is not to be sent.
    pub(crate) fn without(mut self, gone: impl Fn(&Sent) -> bool) -> Self {
        self.0.retain(|sent| !gone(sent));
        self
    }

    /// A stream that arrives later than it was sent, by seconds.
    pub(crate) fn late(self, kind: MediaKind, from: f64, later: f64) -> Self {
        self.each(Some(kind), |sent| {
            if sent.at >= from {
                sent.at += later;
            }
        })
    }

    /// A stream of which nothing arrives before this moment, and then everything.
    pub(crate) fn jammed(self, kind: MediaKind, until: f64) -> Self {
        self.each(Some(kind), |sent| sent.at = sent.at.max(until))
    }

    /// Other timestamps, from the moment, the clock rate and the timestamp there is.
    pub(crate) fn timestamps(self, kind: Option<MediaKind>, change: impl Fn(f64, f64, u32) -> u32) -> Self {
        self.each(kind, |sent| {
            let (place, rate) = (if sent.report { 16 } else { 4 }, f64::from(sent.codec.clock_rate()));
            let changed = change(sent.at, rate, get(&sent.bytes, place));
            put(&mut sent.bytes, place, changed);
        })
    }

    /// Reports of a stream that say, before this moment, that it is further on than it is, by seconds.
    pub(crate) fn guessing(self, kind: MediaKind, until: f64, ahead: f64) -> Self {
        self.each(Some(kind), |sent| {
            if sent.report && sent.at < until {
                let further = (ahead * f64::from(sent.codec.clock_rate())) as u32;
                let guessed = get(&sent.bytes, 16).wrapping_add(further);
                put(&mut sent.bytes, 16, guessed);
            }
        })
    }

    /// Pictures that say in a header extension (RFC 8285, section 4.2) that the camera was turned: 3GPP TS 26.114, section 7.4.5.
    pub(crate) fn turned(self) -> Self {
        self.each(Some(MediaKind::Video), |sent| {
            if !sent.report {
                sent.bytes[0] |= 0x10;
                sent.bytes.splice(12..12, [0xbe, 0xde, 0, 1, 0x40, 0x01, 0, 0]);
            }
        })
    }

    /// Probes the bandwidth four times a second behind a picture, with packets of nothing but padding (RFC 3550, section 5.1).
    pub(crate) fn probing(mut self) -> Self {
        let ends = |sent: &Sent| !sent.report && sent.codec.kind() == MediaKind::Video && sent.bytes[1] & 0x80 != 0;
        let after: Vec<_> = self.0.iter().filter(|sent| ends(sent)).step_by(8).cloned().collect();
        self.0.extend(after.into_iter().map(|mut sent| {
            sent.bytes.truncate(12);
            sent.bytes[0] |= 0x20;
            sent.bytes[1] &= 0x7f;
            sent.bytes.extend([0, 0, 0, 4]);
            sent.at += 0.001;
            sent
        }));
        self.sorted().renumbered(MediaKind::Video)
    }

    /// Numbers what is left of a stream without gaps: what was taken away was never sent.
    pub(crate) fn renumbered(mut self, kind: MediaKind) -> Self {
        let of_kind = self.0.iter_mut().filter(|sent| !sent.report && sent.codec.kind() == kind);
        for (number, sent) in of_kind.enumerate() {
            sent.bytes[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        }
        self
    }

    /// Other sequence numbers.
    pub(crate) fn numbers(self, change: impl Fn(f64, u16) -> u16) -> Self {
        self.each(None, |sent| {
            if !sent.report {
                let number = change(sent.at, u16::from_be_bytes([sent.bytes[2], sent.bytes[3]]));
                sent.bytes[2..4].copy_from_slice(&number.to_be_bytes());
            }
        })
    }

    /// A wall clock that says something else, in seconds.
    pub(crate) fn clock(self, change: impl Fn(f64) -> f64) -> Self {
        self.each(None, |sent| {
            if sent.report {
                let seconds = NTP + sent.at + change(sent.at);
                put(&mut sent.bytes, 8, seconds as u32);
                put(&mut sent.bytes, 12, (seconds.fract() * 4_294_967_296.0) as u32);
            }
        })
    }

    /// Another source.
    pub(crate) fn sources(self, change: impl Fn(f64, u32) -> u32) -> Self {
        self.each(None, |sent| {
            let place = if sent.report { 4 } else { 8 };
            let changed = change(sent.at, get(&sent.bytes, place));
            put(&mut sent.bytes, place, changed);
        })
    }

    /// How long it sends.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.0.last().map_or(0.0, |last| last.at))
    }
}

/// A sender report and a source description (RFC 3550, sections 6.4.1 and 6.5).
fn report(source: u32, ntp: f64, timestamp: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 200, 0, 6];
    for word in [source, ntp as u32, (ntp.fract() * 4_294_967_296.0) as u32, timestamp, 1, 1] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend([0x81, 202, 0, 2]);
    bytes.extend(source.to_be_bytes());
    bytes.extend([1, 1, b'x', 0]);
    bytes
}

fn get(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn put(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
}
