//! Where the muxer of an encoded stream ends its segments and parts: told picture by picture, on the way in.
//!
//! Segments end where running time is a multiple of their length: in every rendition at the same moment, and after a restart too.
//! The first stream decides, and a second one in the same muxer follows it.

mod fuzzing;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use crate::media::pipeline::running_time;

pub(in super::super) use fuzzing::fuzz_cuts;

/// How much before its time a picture may be: timestamps are rounded.
const EARLY: Duration = Duration::from_millis(2);

/// The first segment is at least so long: a keyframe that is wanted at once comes too late.
const SOON: Duration = Duration::from_millis(450);

/// Sound that is so far behind the picture does not come.
const SILENT: Duration = Duration::from_millis(1500);

/// How one rendition is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    /// Of a segment.
    pub(super) segment: Duration,
    /// Of a part.
    pub(super) part: Option<Duration>,
    /// Segments end at multiples of their length; otherwise that long after they began, for a sender who is asked for keyframes.
    pub(super) on_grid: bool,
}

/// What a muxer was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Cuts(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The first media, and then the last cut that has come out.
    start: Option<Duration>,
    leader: Option<Leader>,
    /// For each piece that is to come out: where it ends.
    ends: VecDeque<(Duration, Cut)>,
    /// What the second stream has still to be told.
    follower: VecDeque<(Duration, Cut)>,
}

/// The place of a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Part,
    Segment,
}

impl Cut {
    /// Puts the cut in front of what comes next.
    fn tell(self, pad: &gst::Pad) {
        let split = gst::Structure::builder("FMP4MuxSplitNow").field("chunk", self == Self::Part).build();
        pad.push_event(gst::event::CustomDownstream::new(split));
    }
}

/// The stream that decides.
#[derive(Debug)]
struct Leader {
    lengths: Lengths,
    part: Duration,
    boundary: Duration,
}

impl Leader {
    fn new(lengths: Lengths, start: Duration) -> Self {
        let mut leader = Self { lengths, part: start, boundary: Duration::ZERO };
        leader.boundary = if lengths.on_grid { leader.after(start + SOON) } else { leader.after(start) };
        leader
    }

    /// Where a segment ends that begins at this time.
    fn after(&self, time: Duration) -> Duration {
        let Lengths { segment, on_grid, .. } = self.lengths;
        if on_grid { next_multiple(time + EARLY, segment) } else { time + segment }
    }

    /// Whether a cut is due in front of this picture.
    fn cut(&mut self, time: Duration, keyframe: bool) -> Option<Cut> {
        if keyframe && time + EARLY >= self.boundary {
            self.boundary = self.after(time);
            self.part = time;
            return Some(Cut::Segment);
        }
        if time + Duration::from_millis(1) >= self.part + self.lengths.part? {
            self.part = time;
            return Some(Cut::Part);
        }
        None
    }
}

/// The next multiple of `length` after `time`.
fn next_multiple(time: Duration, length: Duration) -> Duration {
    let whole = length.as_nanos().max(1);
    let next = (time.as_nanos() / whole + 1) * whole;
    u64::try_from(next).map_or(Duration::MAX, Duration::from_nanos)
}

impl Cuts {
    /// Cuts what goes into `mux`, which is in `manual-split` mode.
    pub(super) fn watch(mux: &gst::Element, lengths: Lengths) -> Self {
        let cuts = Self::default();
        let sinks = mux.sink_pads();
        let second = sinks.get(1).and_then(|sink| sink.peer()).map(|pad| pad.downgrade());
        for (index, sink) in sinks.into_iter().enumerate() {
            // Events have to be in the muxer before the picture is.
            let Some(pad) = sink.peer() else { continue };
            let (state, sink, second) = (Arc::clone(&cuts.0), sink.downgrade(), second.clone());
            pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
                let Some((buffer, sink)) = info.buffer().zip(sink.upgrade()) else { return gst::PadProbeReturn::Ok };
                let Some(time) = running_time(pad, buffer).map(Duration::from) else { return gst::PadProbeReturn::Ok };
                let keyframe = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
                let (cut, wanted, silent) = {
                    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                    if index == 0 {
                        state.start.get_or_insert(time);
                    }
                    if index == 0 {
                        let (cut, wanted) = state.lead(lengths, time, keyframe);
                        (cut, wanted, state.overdue(time))
                    } else {
                        (state.follow(time), None, None)
                    }
                };
                if let Some(cut) = cut {
                    cut.tell(pad);
                }
                // Somebody who sends no sound must not hold back the picture.
                if let Some((cut, second)) = silent.zip(second.as_ref().and_then(|second| second.upgrade())) {
                    cut.tell(&second);
                }
                if let Some(wanted) = wanted.and_then(|wanted| gst::ClockTime::try_from(wanted).ok()) {
                    let request =
                        gst_video::UpstreamForceKeyUnitEvent::builder().running_time(wanted).all_headers(true);
                    sink.push_event(request.build());
                }
                gst::PadProbeReturn::Ok
            });
        }
        cuts
    }

    /// The running time of the first media.
    pub(super) fn start(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).start
    }

    /// How long the next piece that comes out is, and whether it ends a segment. `None` is a piece that nobody cut: a whole
    /// segment, or the last.
    ///
    /// The muxer's own figure is that of the longest stream: with sound it is now more and now less than it should be.
    pub(super) fn next(&self) -> Option<(Duration, bool)> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (end, cut) = state.ends.pop_front()?;
        let begin = state.start.replace(end)?;
        Some((end.saturating_sub(begin), cut == Cut::Segment))
    }
}

impl State {
    /// The cut in front of this picture, and when the next keyframe is wanted.
    fn lead(&mut self, lengths: Lengths, time: Duration, keyframe: bool) -> (Option<Cut>, Option<Duration>) {
        let wanted = |boundary: Duration| Some(boundary.saturating_sub(EARLY));
        let Some(leader) = &mut self.leader else {
            let leader = self.leader.insert(Leader::new(lengths, time));
            return (None, wanted(leader.boundary));
        };
        let cut = leader.cut(time, keyframe);
        let boundary = leader.boundary;
        if let Some(cut) = cut {
            self.ends.push_back((time, cut));
            self.follower.push_back((time, cut));
        }
        (cut, (cut == Some(Cut::Segment)).then(|| wanted(boundary)).flatten())
    }

    /// A cut that the second stream should have come to long ago.
    fn overdue(&mut self, time: Duration) -> Option<Cut> {
        self.follow(time.checked_sub(SILENT)?)
    }

    fn follow(&mut self, time: Duration) -> Option<Cut> {
        self.follower.front().filter(|(due, _)| time + EARLY >= *due)?;
        self.follower.pop_front().map(|(_, cut)| cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn segments_end_at_multiples_and_parts_begin_anew_with_each() {
        let mut leader = Leader::new(Lengths { segment: ms(2000), part: Some(ms(300)), on_grid: true }, ms(7100));
        let mut cuts = Vec::new();
        for picture in 1..40 {
            let time = ms(7100 + 100 * picture);
            cuts.extend(leader.cut(time, time == ms(8000) || time == ms(10_000)).map(|cut| (time, cut)));
        }
        let parts = |times: &[u64]| times.iter().map(|time| (ms(*time), Cut::Part)).collect::<Vec<_>>();
        let mut expected = parts(&[7400, 7700]);
        expected.push((ms(8000), Cut::Segment));
        expected.extend(parts(&[8300, 8600, 8900, 9200, 9500, 9800]));
        expected.push((ms(10_000), Cut::Segment));
        expected.extend(parts(&[10_300, 10_600, 10_900]));
        assert_eq!(cuts, expected);
    }

    #[test]
    fn a_boundary_that_is_too_near_and_a_keyframe_that_is_too_late_cost_one_segment_only() {
        let mut leader = Leader::new(Lengths { segment: ms(1000), part: None, on_grid: true }, ms(3700));
        assert_eq!(leader.cut(ms(4000), true), None, "the keyframe could not be asked for in time");
        assert_eq!(leader.cut(ms(5000), false), None);
        assert_eq!(leader.cut(ms(5300), true), Some(Cut::Segment));
        assert_eq!(leader.cut(ms(5999), true), Some(Cut::Segment), "rounded");
    }

    #[test]
    fn a_copied_stream_ends_its_segments_with_the_first_keyframe_after_their_length() {
        let mut leader = Leader::new(Lengths { segment: ms(2000), part: None, on_grid: false }, ms(3700));
        for (time, cut) in [(5200, false), (5800, true), (7400, false), (7800, true)] {
            assert_eq!(leader.cut(ms(time), true).is_some(), cut, "{time}");
        }
    }

    #[test]
    fn sound_that_stays_away_does_not_hold_back_the_picture() {
        let mut state = State::default();
        let lengths = Lengths { segment: ms(1000), part: None, on_grid: true };
        let cuts = (0..100).filter_map(|picture| {
            state.lead(lengths, ms(100 * picture), picture % 10 == 0);
            state.overdue(ms(100 * picture))
        });
        assert_eq!(cuts.count(), 8);
    }

    #[test]
    fn a_second_stream_is_cut_as_often_as_the_first() {
        let mut state = State::default();
        let lengths = Lengths { segment: ms(1000), part: Some(ms(300)), on_grid: true };
        for picture in 0..40 {
            state.lead(lengths, ms(100 * picture), picture % 10 == 0);
        }
        let made = state.ends.len();
        let followed = (0..300).filter(|piece| state.follow(ms(21 * piece)).is_some()).count();
        assert_eq!((made, followed), (15, 15));
    }
}
