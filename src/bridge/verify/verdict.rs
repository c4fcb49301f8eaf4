//! Whether a recording is what it should be. Pure: what was promised and what was decoded go in, faults come out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::probe::{self, Expectations, Report, Shape, Skew, StreamReport};
use crate::terms::MediaKind;

/// A recording may be so much shorter or longer than the clock says: the last picture and the last piece of sound, and what
/// a slow machine is behind when it is told to stop.
const LENGTH: f64 = 0.5;

/// When pictures came too fast for the encoder, up to this much of them was still waiting at the end.
const BEHIND: f64 = 0.5;

/// A codec's block of sound, and the rounding of containers.
const SLACK: f64 = 0.05;

/// Fewer pictures than this may be missing without a word; and this part of all.
const FEW_PICTURES: f64 = 5.0;
const FEW: f64 = 0.02;

/// What a participant sends may be damaged on the way. This part of the pictures is the sender's affair.
const DAMAGED: f64 = 0.1;

/// Flashes and beeps that belong together agree with one another; accidents do not.
const PAIRS: usize = 5;
const FURTHEST_SKEW: f64 = 150.0;

/// What a recording should be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Promise {
    /// What is in it.
    pub(crate) kinds: Vec<MediaKind>,
    /// The mix never pauses; what a participant sends may, and its gaps are theirs.
    pub(crate) steady: bool,
    /// Pictures per second of the mix.
    pub(crate) fps: f64,
    /// From its first picture to the moment when it had to end, by the clock.
    pub(crate) wall: Duration,
    /// Whether its end was written.
    pub(crate) complete: bool,
    /// Lost before it was encoded, and told when it happened.
    pub(crate) announced: Announced,
}

/// What the bridge itself has said that it lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Announced {
    /// Pictures: they came too fast for the encoder, or were left out to relieve it.
    pub pictures: u64,
    /// Seconds of sound.
    pub sound: f64,
}

/// Something that is wrong with a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// `incomplete`, `nothing_decoded`, `missing`, `empty`, `decode_errors`, `gaps`, `pictures`, `length`, `regressions`, `skew` or
    /// `problem`.
    pub fault: String,
    /// For people.
    pub text: String,
}

fn fault(name: &str, text: String) -> Fault {
    Fault { fault: name.to_owned(), text }
}

/// Finds what is wrong, the gravest first.
pub(crate) fn judge(report: &Report, promise: &Promise) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !promise.complete {
        faults.push(fault("incomplete", "its output failed before its end was written".into()));
    }
    let expected = |kind| promise.steady && promise.kinds.contains(&kind);
    let expectations =
        Expectations { video: expected(MediaKind::Video), audio: expected(MediaKind::Audio), max_skew: None };
    for found in probe::judge(report, expectations) {
        let name = match &found {
            probe::Fault::NothingDecoded => "nothing_decoded",
            probe::Fault::Missing { .. } => "missing",
            probe::Fault::Empty { .. } if promise.steady => "empty",
            probe::Fault::DecodeErrors { kind, count, .. } if promise.steady || is_many(report, *kind, *count) => {
                "decode_errors"
            }
            probe::Fault::Gaps { kind, total, .. } if promise.steady && *total > allowed(promise, *kind) => "gaps",
            probe::Fault::Regressions { .. } if promise.steady => "regressions",
            probe::Fault::Problem { .. } => "problem",
            _ => continue,
        };
        faults.push(fault(name, found.to_string()));
    }
    for stream in &report.streams {
        faults.extend(length(stream, promise));
        faults.extend(pictures(stream, promise));
    }
    faults.extend(report.skew.filter(|_| promise.steady).and_then(skew));
    faults
}

/// Seconds that may be missing of one kind.
fn allowed(promise: &Promise, kind: MediaKind) -> f64 {
    let lost = match kind {
        MediaKind::Video => promise.announced.pictures as f64 / promise.fps.max(1.0),
        MediaKind::Audio => promise.announced.sound,
    };
    if lost > 0.0 { lost + SLACK } else { 0.0 }
}

fn is_many(report: &Report, kind: MediaKind, count: u64) -> bool {
    let frames: u64 = report.streams_of(kind).map(|stream| stream.frames).sum();
    count as f64 > frames as f64 * DAMAGED
}

fn length(stream: &StreamReport, promise: &Promise) -> Option<Fault> {
    let (wall, end) = (promise.wall.as_secs_f64(), stream.start + stream.duration);
    let behind = if promise.announced.pictures > 0 { BEHIND } else { 0.0 };
    // A participant may stop sending before the recording ends; nobody can send the future. Nor is there more than the clock
    // says in what has no end.
    let least = if promise.steady && promise.complete { wall - LENGTH - behind } else { 0.0 };
    let is_wrong = stream.frames > 0 && !(least..=wall + LENGTH).contains(&end);
    is_wrong.then(|| fault("length", format!("{} ends at {end:.3} s, but {wall:.3} s were recorded", stream.kind)))
}

/// A picture that is missing again and again leaves no gap: the rate is lower, that is all.
fn pictures(stream: &StreamReport, promise: &Promise) -> Option<Fault> {
    if !promise.steady || !matches!(stream.shape, Shape::Video { .. }) {
        return None;
    }
    let due = stream.duration * promise.fps;
    let missing = due - stream.frames as f64 - promise.announced.pictures as f64;
    (missing > FEW_PICTURES.max(due * FEW))
        .then(|| fault("pictures", format!("{} pictures instead of {due:.0}: {missing:.0} are missing", stream.frames)))
}

fn skew(skew: Skew) -> Option<Fault> {
    let agree = (skew.worst_ms - skew.median_ms).abs() < FURTHEST_SKEW;
    (skew.count >= PAIRS && agree && skew.median_ms.abs() > FURTHEST_SKEW).then(|| {
        fault("skew", format!("sound and picture are {:.0} ms apart in {} places", skew.median_ms, skew.count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Gap, Gaps};

    fn report() -> Report {
        let stream = |kind, frames, shape| StreamReport {
            kind,
            codec: "any".into(),
            frames,
            decode_errors: 0,
            decode_error: None,
            first_frame: Some(0.1),
            start: 0.0,
            duration: 10.0,
            gaps: Gaps::default(),
            regressions: 0,
            shape,
        };
        let video = Shape::Video { width: 320, height: 180, fps: 30.0, size_changes: 0 };
        Report {
            source: "call.mkv".into(),
            streams: vec![
                stream(MediaKind::Video, 300, video),
                stream(MediaKind::Audio, 469, Shape::Audio { channels: 2, rate: 48_000 }),
            ],
            ..Report::default()
        }
    }

    fn promise() -> Promise {
        Promise {
            kinds: vec![MediaKind::Video, MediaKind::Audio],
            steady: true,
            fps: 30.0,
            wall: Duration::from_secs(10),
            complete: true,
            announced: Announced::default(),
        }
    }

    fn names(report: &Report, promise: &Promise) -> Vec<String> {
        judge(report, promise).into_iter().map(|fault| fault.fault).collect()
    }

    #[test]
    fn a_good_recording_has_no_fault() {
        assert_eq!(judge(&report(), &promise()), []);
    }

    #[test]
    fn each_damage_is_a_fault_of_its_own() {
        type Break = fn(&mut Report, &mut Promise);
        let cases: [(&str, Break); 10] = [
            ("incomplete", |_, promise| promise.complete = false),
            ("nothing_decoded", |report, _| report.streams.iter_mut().for_each(|stream| stream.frames = 0)),
            ("missing", |report, _| drop(report.streams.remove(1))),
            ("decode_errors", |report, _| report.streams[0].decode_errors = 1),
            ("gaps", |report, _| {
                report.streams[1].gaps = Gaps { count: 1, total: 0.5, first: vec![Gap { at: 3.0, length: 0.5 }] };
            }),
            ("pictures", |report, _| report.streams[0].frames = 150),
            ("length", |report, _| report.streams[0].duration = 9.4),
            ("length", |report, _| report.streams[1].duration = 10.6),
            ("regressions", |report, _| report.streams[0].regressions = 1),
            ("skew", |report, _| report.skew = Some(Skew { count: 9, median_ms: -200.0, worst_ms: -230.0 })),
        ];
        for (expected, break_it) in cases {
            let (mut report, mut promise) = (report(), promise());
            break_it(&mut report, &mut promise);
            assert_eq!(names(&report, &promise).first().map(String::as_str), Some(expected));
        }
    }

    #[test]
    fn what_the_bridge_has_told_is_no_fault_and_more_is() {
        let mut report = report();
        report.streams[0].gaps = Gaps { count: 1, total: 1.0, first: vec![Gap { at: 3.0, length: 1.0 }] };
        report.streams[0].frames = 270;
        let told = |pictures| Promise { announced: Announced { pictures, sound: 0.0 }, ..promise() };
        assert_eq!(names(&report, &told(0)), ["gaps", "pictures"]);
        assert_eq!(names(&report, &told(10)), ["gaps", "pictures"]);
        assert_eq!(names(&report, &told(30)), [""; 0]);
    }

    #[test]
    fn a_participant_may_pause_and_stop_and_yet_nothing_of_it_may_be_unreadable() {
        let mut report = report();
        report.streams[0].gaps = Gaps { count: 1, total: 5.0, first: vec![Gap { at: 3.0, length: 5.0 }] };
        (report.streams[0].frames, report.streams[0].decode_errors, report.streams[1].duration) = (150, 3, 4.0);
        report.skew = Some(Skew { count: 9, median_ms: -200.0, worst_ms: -230.0 });
        let copy = Promise { steady: false, ..promise() };
        assert_eq!(names(&report, &copy), [""; 0]);
        report.streams[0].decode_errors = 40;
        report.problems.push("demuxer: this is no Matroska".into());
        assert_eq!(names(&report, &copy), ["problem", "decode_errors"]);
    }

    #[test]
    fn flashes_that_met_beeps_by_accident_say_nothing() {
        let mut report = report();
        report.skew = Some(Skew { count: 9, median_ms: -200.0, worst_ms: 480.0 });
        assert_eq!(names(&report, &promise()), [""; 0]);
    }
}
