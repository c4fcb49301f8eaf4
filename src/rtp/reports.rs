//! What a sender's reports say about its media: at which moment of ours a timestamp was captured. Pure.
//!
//! The sender's wall clock is its own. Its first report is taken as now, and everything else counts from there, so that
//! the streams of one sender keep their relation and nothing depends on the clocks of two machines being equal.

use std::time::{Duration, Instant};

use crate::terms::Ssrc;

/// A sender whose clock moved by this much against ours has set it: count anew.
const STEP: Duration = Duration::from_secs(1);
/// A sender report (RFC 3550, section 6.4.1).
const SENDER_REPORT: u8 = 200;

/// A sample of a source and when it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The source.
    pub ssrc: Ssrc,
    /// Its timestamp.
    pub timestamp: u32,
    /// The moment.
    pub at: Instant,
}

/// One sender's wall clock.
#[derive(Debug, Default)]
pub(crate) struct SenderClock {
    base: Option<(u64, Instant)>,
}

impl SenderClock {
    /// Takes a compound packet that came now.
    pub(crate) fn read(&mut self, compound: &[u8], now: Instant) -> Option<Capture> {
        let report = parse(compound)?;
        let (ntp, base) = *self.base.get_or_insert((report.ntp, now));
        let at = moment(report.ntp, ntp, base)
            .filter(|at| at.saturating_duration_since(now).max(now.saturating_duration_since(*at)) < STEP);
        let at = at.unwrap_or_else(|| {
            self.base = Some((report.ntp, now));
            now
        });
        Some(Capture { ssrc: report.ssrc, timestamp: report.timestamp, at })
    }
}

/// The moment of an NTP time (32.32 fixed point), counted from another one.
fn moment(ntp: u64, base_ntp: u64, base: Instant) -> Option<Instant> {
    let difference = ntp.wrapping_sub(base_ntp).cast_signed();
    let seconds = Duration::try_from_secs_f64(difference.unsigned_abs() as f64 / 4_294_967_296.0).ok()?;
    if difference < 0 { base.checked_sub(seconds) } else { base.checked_add(seconds) }
}

struct Report {
    ssrc: Ssrc,
    ntp: u64,
    timestamp: u32,
}

/// Of the first sender report of a compound packet: its source, the sender's wall clock (seconds since 1900, 32.32 fixed point), and
/// the timestamp of what was taken then.
pub(crate) fn read_report(compound: &[u8]) -> Option<(Ssrc, u64, u32)> {
    parse(compound).map(|report| (report.ssrc, report.ntp, report.timestamp))
}

/// The first sender report of a compound packet.
fn parse(mut compound: &[u8]) -> Option<Report> {
    loop {
        let &[_, kind, high, low] = compound.first_chunk::<4>()?;
        let length = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        if kind == SENDER_REPORT {
            let word = |at: usize| compound.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
            let ntp = u64::from(word(8)?) << 32 | u64::from(word(12)?);
            return Some(Report { ssrc: Ssrc(word(4)?), ntp, timestamp: word(16)? });
        }
        compound = compound.get(length..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compound(ssrc: u32, seconds: f64, timestamp: u32) -> Vec<u8> {
        let mut bytes = vec![0x80, 201, 0, 1, 0, 0, 0, 9, 0x80, 200, 0, 6];
        bytes.extend(ssrc.to_be_bytes());
        bytes.extend(((seconds * 4_294_967_296.0) as u64).to_be_bytes());
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend([0; 8]);
        bytes
    }

    #[test]
    fn streams_of_one_sender_keep_their_relation_however_late_their_reports_come() {
        let (mut clock, start) = (SenderClock::default(), Instant::now());
        let ms = Duration::from_millis;
        let video = clock.read(&compound(1, 1000.0, 90), start).unwrap();
        assert_eq!(video, Capture { ssrc: Ssrc(1), timestamp: 90, at: start });
        let audio = clock.read(&compound(2, 1000.5, 48), start + ms(730)).unwrap();
        assert_eq!(audio, Capture { ssrc: Ssrc(2), timestamp: 48, at: start + ms(500) });
        let earlier = clock.read(&compound(2, 999.75, 7), start + ms(10)).unwrap();
        assert_eq!(earlier.at, start - ms(250));
    }

    #[test]
    fn a_clock_that_was_set_counts_anew() {
        let (mut clock, start) = (SenderClock::default(), Instant::now());
        clock.read(&compound(1, 1000.0, 0), start);
        let later = start + Duration::from_secs(5);
        assert_eq!(clock.read(&compound(1, 5000.0, 0), later).unwrap().at, later);
        assert_eq!(clock.read(&compound(1, 5000.5, 0), later).unwrap().at, later + Duration::from_millis(500));
        assert_eq!(clock.read(&compound(1, 0.0, 0), later).unwrap().at, later);
    }

    #[test]
    fn what_is_no_sender_report_says_nothing() {
        let mut clock = SenderClock::default();
        let whole = compound(1, 1.0, 1);
        for bytes in [&[][..], &[0x80], &[0x80, 201, 0xff, 0xff], &whole[..20], &whole[..8]] {
            assert_eq!(clock.read(bytes, Instant::now()), None, "{bytes:?}");
        }
    }
}
