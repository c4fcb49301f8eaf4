//! When the pictures and the sound of one participant were taken, seen from one clock: by how much the stream that comes
//! sooner has to wait for the other. Pure: [`super::sync`] feeds it.
//!
//! Each sender report (RFC 3550, section 6.4.1) relates a stream's timestamps to the sender's wall clock. Two streams that are
//! equally late show the same distance between that clock and ours; what one shows more, it came sooner. Before both have
//! reported nothing is known, and browsers report of sound after 2.5 s: what is copied waits for that.
//!
//! From one report to the next the distance follows the packets: what the jitter buffer takes for the truth changes by and by.
//! Wall clocks are set and reports are wrong. A distance that jumps is believed when the other stream has reported after it:
//! a clock that was set moves both. Whoever believes the first report moves the sound against the picture for seconds.
//!
//! A report that is in front of its media is of a sender whose encoder thinks for a while, and the next one says the same. Or it is a
//! guess: while it connects, GStreamer's `webrtcbin` is wrong by up to two seconds. Such a report is believed when another confirms it.

use crate::terms::{MediaKind, Ssrc};

/// How long what is copied waits for the reports: a browser's first report of sound comes after 2.5 s. It loses nothing by it. In
/// ns, like all that follows.
const HOLD: i64 = 3_000_000_000;
/// How long the jitter buffer measures a stream until it knows, but for a few hundredths, how late the first packets were.
const MEASURED: i64 = 1_000_000_000;
/// A stream whose companion does not begin within this long has none.
const ALONE: i64 = 1_500_000_000;
/// A larger change of a distance is a clock that was set, or a report that is wrong, in ns.
const JUMP: i64 = 100_000_000;
/// Streams further apart than this, in ns, are not of one clock.
const FURTHEST: i64 = 3_000_000_000;
/// A report this far from the media, in ns, says nothing of it. Reports of sound come 7.5 s after one another at most.
const OUTDATED: i64 = 15_000_000_000;
/// A report that is further than this in front of the media may be a guess, in ns.
const AHEAD: i64 = 300_000_000;
/// A smaller change is not worth a move, in ns.
const LEAST: i64 = 4_000_000;
/// How far a stream moves with each picture or piece of sound, in ns: 140 ms are a second or two of small steps instead of a jump.
const STEP: i64 = 2_000_000;

/// How far the streams of a participant are apart.
#[derive(Debug, Default)]
pub(super) struct Lips {
    streams: [Stream; 2],
    /// Whether both streams have reported.
    known: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    source: Option<Ssrc>,
    rate: u32,
    /// The newest timestamp and where it lies on our timeline, in ns.
    newest: Option<(u32, i64)>,
    /// Came before the first packet of its source.
    waiting: Option<Report>,
    /// By which distances are measured.
    report: Option<Report>,
    /// Where its first packet lay.
    began: Option<i64>,
    /// Whether what is copied does not wait, or no longer.
    flows: bool,
    /// The sender's clock less ours, in ns.
    distance: Option<i64>,
    /// The distance by a report in front of the media, if that was the last one.
    guess: Option<i64>,
    /// Another distance that nothing has confirmed yet.
    doubtful: Option<(Report, i64)>,
    /// How long it is to be held back, and is, in ns.
    wanted: i64,
    offset: i64,
    /// It moves at once: better wrong for a moment than for as long as small steps take.
    at_once: bool,
}

impl Stream {
    /// The sender's clock less ours, by a report that is not too far from the newest packet.
    fn distance_by(&self, report: Report) -> Option<i64> {
        let (newest, time) = self.newest?;
        let ahead = i64::from(report.timestamp.wrapping_sub(newest).cast_signed()) * 1_000_000_000;
        let ahead = ahead / i64::from(self.rate.max(1));
        (ahead.abs() <= OUTDATED).then(|| report.theirs().saturating_sub(time.saturating_add(ahead)))
    }

    /// Whether a report may be wrong by itself: it is in front of the media, and the one before it said something else.
    fn is_guess(&mut self, report: Report, distance: i64) -> bool {
        let ahead = report.theirs().saturating_sub(distance).saturating_sub(report.came) > AHEAD;
        let before = std::mem::replace(&mut self.guess, ahead.then_some(distance));
        ahead && before.is_none_or(|before| before.saturating_sub(distance).saturating_abs() > JUMP)
    }

    fn believe(&mut self, report: Report, distance: i64) {
        (self.report, self.distance, self.doubtful) = (Some(report), Some(distance), None);
    }
}

/// What a sender report says: at `ntp` was taken what has `timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) source: Ssrc,
    /// Seconds since 1900, 32.32 fixed point.
    pub(super) ntp: u64,
    pub(super) timestamp: u32,
    /// When it came on our timeline, in ns.
    pub(super) came: i64,
}

impl Report {
    /// What the sender's clock showed, in ns.
    fn theirs(self) -> i64 {
        i64::try_from((u128::from(self.ntp) * 1_000_000_000) >> 32).unwrap_or(i64::MAX)
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// How long it is held back, in ns.
    pub(super) offset: i64,
    /// Whether that is what it stays at, so that what is copied goes on.
    pub(super) flows: bool,
}

impl Lips {
    /// A source of this kind with this clock rate began; the newest counts. It is held back as the one before it until it reports.
    pub(super) fn begin(&mut self, kind: MediaKind, source: Ssrc, rate: u32) {
        let stream = &mut self.streams[index(kind)];
        if stream.source != Some(source) || stream.rate != rate {
            let waiting = stream.waiting.filter(|report| report.source == source);
            let fresh = Stream { source: Some(source), rate, waiting, ..Stream::default() };
            let Stream { began, flows, wanted, offset, at_once, .. } = *stream;
            *stream = Stream { began, flows, wanted, offset, at_once, ..fresh };
        }
    }

    /// A packet with this timestamp comes and lies at `time`, in ns, where nothing is held back.
    pub(super) fn packet(&mut self, kind: MediaKind, source: Ssrc, timestamp: u32, time: i64) -> Place {
        let stream = &mut self.streams[index(kind)];
        if stream.source != Some(source) {
            return Place { offset: stream.offset, flows: stream.flows };
        }
        stream.began.get_or_insert(time);
        let is_new = stream.newest.is_none_or(|(newest, _)| newest != timestamp);
        stream.newest = Some((timestamp, time));
        match stream.waiting.take() {
            Some(report) => self.report(kind, report),
            None => self.follow(kind),
        }
        self.let_flow(kind, time);
        let stream = &mut self.streams[index(kind)];
        if std::mem::take(&mut stream.at_once) {
            stream.offset = stream.wanted;
        } else if is_new {
            stream.offset += (stream.wanted - stream.offset).clamp(-STEP, STEP);
        }
        Place { offset: stream.offset, flows: stream.flows }
    }

    /// How long a stream is held back now, in ns.
    pub(super) fn offset(&self, kind: MediaKind) -> i64 {
        self.streams[index(kind)].offset
    }

    fn let_flow(&mut self, kind: MediaKind, now: i64) {
        let since = |began: Option<i64>| began.map(|began| now.saturating_sub(began));
        let [this, other] = [index(kind), 1 - index(kind)].map(|at| since(self.streams[at].began));
        let (Some(this), stream) = (this, &mut self.streams[index(kind)]) else { return };
        stream.flows |= match other {
            Some(other) => this.max(other) >= HOLD || (self.known && this.min(other) >= MEASURED),
            None => this >= ALONE,
        };
    }

    /// Takes a report.
    pub(super) fn report(&mut self, kind: MediaKind, report: Report) {
        let at = index(kind);
        let (stream, other) = (self.streams[at], self.streams[1 - at]);
        if stream.newest.is_none() || stream.source != Some(report.source) {
            self.streams[at].waiting = Some(report);
            return;
        }
        let Some(distance) = stream.distance_by(report) else { return };
        if self.streams[at].is_guess(report, distance) {
            return;
        }
        let jumps = stream.distance.is_some_and(|known| known.saturating_sub(distance).saturating_abs() > JUMP);
        if jumps && other.distance.is_some() && other.doubtful.is_none() {
            self.streams[at].doubtful = Some((report, distance));
            return;
        }
        self.streams[at].believe(report, distance);
        if let Some((report, distance)) = other.doubtful {
            self.streams[1 - at].believe(report, distance);
        }
        self.place();
        let held = self.streams.map(|stream| stream.wanted / 1_000_000);
        tracing::debug!(%kind, ?held, "sender report: sound and pictures are held back, in ms");
    }

    /// Measures anew by the newest report.
    fn follow(&mut self, kind: MediaKind) {
        let stream = &mut self.streams[index(kind)];
        let (Some(report), Some(known)) = (stream.report, stream.distance) else { return };
        // Numbers that begin anew say nothing until they are reported of.
        let moved =
            stream.distance_by(report).filter(|distance| distance.saturating_sub(known).saturating_abs() <= JUMP);
        if moved.is_some() {
            stream.distance = moved;
            self.place();
        }
    }

    fn place(&mut self) {
        let [Some(first), Some(second)] = self.streams.map(|stream| stream.distance) else { return };
        let apart = first.saturating_sub(second);
        let at_once = !std::mem::replace(&mut self.known, true);
        if apart.saturating_abs() > FURTHEST {
            return;
        }
        // Whoever comes sooner waits: nothing that is late can be made to come earlier.
        for (stream, wanted) in self.streams.iter_mut().zip([apart.max(0), apart.saturating_neg().max(0)]) {
            stream.at_once |= at_once;
            if at_once || (wanted - stream.wanted).abs() >= LEAST {
                stream.wanted = wanted;
            }
        }
    }
}

fn index(kind: MediaKind) -> usize {
    match kind {
        MediaKind::Audio => 0,
        MediaKind::Video => 1,
    }
}

#[cfg(test)]
mod tests;
