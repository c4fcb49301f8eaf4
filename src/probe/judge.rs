//! Turns a report into faults. Pure: the same report and the same expectations always give the same verdict.

use std::time::Duration;

use serde::Serialize;

use super::report::{Gap, Report};
use crate::terms::MediaKind;

/// What somebody expects of a source, beyond that it decodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    /// A picture must be there.
    pub video: bool,
    /// Sound must be there.
    pub audio: bool,
    /// Sound and picture must be measurably no further apart than this, in the median.
    pub max_skew: Option<Duration>,
}

/// Something that is wrong with a source.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// Nothing at all came out.
    #[error("nothing could be decoded")]
    NothingDecoded,
    /// An expected kind of stream is not there, or never gave a frame.
    #[error("no {kind} was decoded")]
    Missing {
        /// Which.
        kind: MediaKind,
    },
    /// A stream is announced and gave no frame.
    #[error("the {codec} {kind} stream gave no frame")]
    Empty {
        /// Sound or picture.
        kind: MediaKind,
        /// Its codec.
        codec: String,
    },
    /// The decoder complained.
    #[error("{count} decode errors in {kind}{}", first.as_ref().map(|first| format!(", the first: {first}")).unwrap_or_default())]
    DecodeErrors {
        /// Sound or picture.
        kind: MediaKind,
        /// How often.
        count: u64,
        /// Its first words.
        first: Option<String>,
    },
    /// Something is missing in between.
    #[error("{count} gaps in {kind}, {total:.3} s together, the first at {:.3} s for {:.3} s", first.at, first.length)]
    Gaps {
        /// Sound or picture.
        kind: MediaKind,
        /// How many.
        count: usize,
        /// Seconds.
        total: f64,
        /// Where it begins.
        first: Gap,
    },
    /// Timestamps go back.
    #[error("time runs backwards {count} times in {kind}")]
    Regressions {
        /// Sound or picture.
        kind: MediaKind,
        /// How often.
        count: u64,
    },
    /// Sound and picture are too far apart.
    #[error("sound and picture are {median_ms:.0} ms apart, more than {allowed_ms:.0} ms")]
    Skew {
        /// Positive is late sound.
        median_ms: f64,
        /// What was allowed.
        allowed_ms: f64,
    },
    /// A limit was given, and there is nothing to measure it with.
    #[error("the skew cannot be measured: no flashes with beeps were found")]
    SkewUnknown,
    /// The source or an element complained.
    #[error("{message}")]
    Problem {
        /// In its own words.
        message: String,
    },
}

/// Finds what is wrong, the gravest first.
pub fn judge(report: &Report, expectations: Expectations) -> Vec<Fault> {
    let mut faults = Vec::new();
    if report.streams.iter().all(|stream| stream.frames == 0) {
        faults.push(Fault::NothingDecoded);
    }
    for (kind, expected) in [(MediaKind::Video, expectations.video), (MediaKind::Audio, expectations.audio)] {
        if expected && report.streams_of(kind).all(|stream| stream.frames == 0) {
            faults.push(Fault::Missing { kind });
        }
    }
    faults.extend(report.problems.iter().map(|message| Fault::Problem { message: message.clone() }));
    for stream in &report.streams {
        let kind = stream.kind;
        if stream.frames == 0 {
            faults.push(Fault::Empty { kind, codec: stream.codec.clone() });
        }
        if stream.decode_errors > 0 {
            let first = stream.decode_error.clone();
            faults.push(Fault::DecodeErrors { kind, count: stream.decode_errors, first });
        }
        if let Some(first) = stream.gaps.first.first().copied() {
            faults.push(Fault::Gaps { kind, count: stream.gaps.count, total: stream.gaps.total, first });
        }
        if stream.regressions > 0 {
            faults.push(Fault::Regressions { kind, count: stream.regressions });
        }
    }
    if let Some(max) = expectations.max_skew {
        let allowed_ms = max.as_secs_f64() * 1000.0;
        match report.skew {
            None => faults.push(Fault::SkewUnknown),
            Some(skew) if skew.median_ms.abs() > allowed_ms => {
                faults.push(Fault::Skew { median_ms: skew.median_ms, allowed_ms });
            }
            Some(_) => {}
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::report::{Gaps, Shape, Skew, StreamReport};

    fn stream(kind: MediaKind) -> StreamReport {
        StreamReport {
            kind,
            codec: "h264".into(),
            frames: 300,
            decode_errors: 0,
            decode_error: None,
            first_frame: Some(0.1),
            start: 0.0,
            duration: 10.0,
            gaps: Gaps::default(),
            regressions: 0,
            shape: match kind {
                MediaKind::Video => Shape::Video { width: 1280, height: 720, fps: 30.0, size_changes: 0 },
                MediaKind::Audio => Shape::Audio { channels: 2, rate: 48_000 },
            },
        }
    }

    fn report() -> Report {
        Report {
            source: "call.mkv".into(),
            streams: vec![stream(MediaKind::Video), stream(MediaKind::Audio)],
            skew: Some(Skew { count: 9, median_ms: -25.0, worst_ms: -40.0 }),
            ..Report::default()
        }
    }

    fn everything(max_skew_ms: u64) -> Expectations {
        Expectations { video: true, audio: true, max_skew: Some(Duration::from_millis(max_skew_ms)) }
    }

    #[test]
    fn a_clean_report_has_no_fault() {
        assert_eq!(judge(&report(), everything(25)), []);
    }

    #[test]
    fn each_thing_that_is_wrong_is_a_fault_of_its_own() {
        type Break = fn(&mut Report);
        let cases: [(Break, &str); 8] = [
            (|report| report.streams.clear(), "nothing could be decoded"),
            (|report| drop(report.streams.remove(0)), "no video was decoded"),
            (|report| report.streams[1].frames = 0, "no audio was decoded"),
            (|report| report.streams[0].decode_errors = 2, "2 decode errors in video"),
            (
                |report| {
                    report.streams[0].gaps = Gaps { count: 1, total: 0.5, first: vec![Gap { at: 3.0, length: 0.5 }] };
                },
                "1 gaps in video, 0.500 s together, the first at 3.000 s for 0.500 s",
            ),
            (|report| report.streams[0].regressions = 1, "time runs backwards 1 times in video"),
            (
                |report| report.skew.as_mut().unwrap().median_ms = -61.0,
                "sound and picture are -61 ms apart, more than 60 ms",
            ),
            (|report| report.skew = None, "the skew cannot be measured: no flashes with beeps were found"),
        ];
        for (break_it, expected) in cases {
            let mut report = report();
            break_it(&mut report);
            let faults = judge(&report, everything(60));
            assert_eq!(faults.first().map(ToString::to_string).as_deref(), Some(expected));
        }
    }

    #[test]
    fn skew_is_no_fault_unless_a_limit_was_given() {
        let mut report = report();
        report.skew = None;
        assert_eq!(judge(&report, Expectations::default()), []);
    }
}
