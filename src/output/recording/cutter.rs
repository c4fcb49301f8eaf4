//! Where one file of a recording ends and the next begins.
//!
//! A pure state machine: what flows goes in, in the order of its arrival, and comes out again with the files around it. Nothing is
//! given twice and, once a recording has begun, nothing is left out: a file begins with a keyframe, the one before it ends there,
//! and sound that came ahead of that keyframe waits for it.

mod fuzzing;

use std::collections::VecDeque;
use std::time::Duration;

use super::super::spec::Split;
use crate::terms::MediaKind;

pub(in super::super) use fuzzing::fuzz_cutter;

/// Sound waits this long, in ns, for the picture that a cut needs.
const HOLD: u64 = 3_000_000_000;

/// A stream of which nothing came for this long, in ns, while the other went on, would hold up the muxer: its file goes on
/// without it, and it is taken in again with the next file.
const STALL: u64 = 2_000_000_000;

/// Streams that come late come all at once, one behind the other: this long, in ns, nothing has come of one that has stalled.
const SILENT: u64 = 1_000_000_000;

/// A keyframe that does not come is asked for again after this time, in ns.
const ASK_AGAIN: u64 = 1_000_000_000;

/// One access unit, or piece of sound, with what the cutter must know about it. Times are ns on the bridge's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit<T> {
    pub(super) kind: MediaKind,
    pub(super) time: u64,
    /// When it came here, which may be long after it was taken.
    pub(super) arrival: u64,
    pub(super) keyframe: bool,
    pub(super) bytes: u64,
    /// Another number than before: the file cannot go on with it.
    pub(super) form: u32,
    pub(super) payload: T,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<T> {
    /// Begin a file at this time with these streams. The one before it, if any, stays open until `Close`.
    Open { at: u64, video: bool, audio: bool },
    /// Into the file that began last.
    Give(Unit<T>),
    /// Into the one before it: sound that came later than the picture of its time.
    GiveFormer(Unit<T>),
    /// The file before it is complete.
    Close,
    /// This stream of the last file has ended; the other goes on.
    End(MediaKind),
    /// Ask for a keyframe at this time.
    Ask(u64),
}

/// Which streams there are, and when files end.
#[derive(Debug)]
pub(super) struct Cutter<T> {
    audio: bool,
    /// Whether a stream may stop for a while: a participant's may, the mix's never do.
    stalls: bool,
    split: Option<Split>,
    file: Option<File>,
    /// When the first file began.
    begin: u64,
    former: Option<Former>,
    due: Option<Due>,
    /// When a keyframe was last asked for because of what is due.
    asked: Option<u64>,
    /// Sound that waits for the cut.
    held: VecDeque<Unit<T>>,
    /// When the recording ends.
    end: Option<u64>,
    /// How far video and audio have come.
    reached: [u64; 2],
    /// When the newest unit of each came, or the file began.
    arrived: [u64; 2],
}

#[derive(Debug)]
struct File {
    at: u64,
    bytes: u64,
    /// Whether video and audio are still taken.
    open: [bool; 2],
    forms: [Option<u32>; 2],
}

impl File {
    fn fits<T>(&self, unit: &Unit<T>) -> bool {
        let kind = index(unit.kind);
        self.open[kind] && self.forms[kind].is_none_or(|form| form == unit.form)
    }
}

/// A file that has its last picture and waits for the sound to it.
#[derive(Debug)]
struct Former {
    until: u64,
    form: Option<u32>,
}

/// A file is to begin at the first keyframe of this kind from this time on.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: u64,
    kind: MediaKind,
}

fn index(kind: MediaKind) -> usize {
    match kind {
        MediaKind::Video => 0,
        MediaKind::Audio => 1,
    }
}

impl<T> Cutter<T> {
    /// A recording of these streams that begins at `start`, for which a keyframe was asked for.
    pub(super) fn new(video: bool, audio: bool, stalls: bool, split: Option<Split>, start: u64) -> Self {
        let due = Due { at: start, kind: if video { MediaKind::Video } else { MediaKind::Audio } };
        Self {
            audio,
            stalls,
            split,
            file: None,
            begin: start,
            former: None,
            due: Some(due),
            asked: Some(start),
            held: VecDeque::new(),
            end: None,
            reached: [start; 2],
            arrived: [start; 2],
        }
    }

    /// Ends the recording with what was taken until this time.
    pub(super) fn end(&mut self, at: u64) {
        self.end = Some(at);
    }

    /// Whether everything up to the end has come.
    pub(super) fn is_over(&self) -> bool {
        // What waits for its time may come yet where nothing has come: whoever copies waits for it.
        let (Some(end), Some(file)) = (self.end, &self.file) else { return self.end.is_some() && !self.stalls };
        [0, 1].into_iter().all(|kind| !file.open[kind] || self.reached[kind] >= end)
    }

    /// What still waits at the end.
    pub(super) fn rest(&mut self) -> Vec<Step<T>> {
        let mut steps = Vec::new();
        for unit in std::mem::take(&mut self.held) {
            self.give(unit, &mut steps);
        }
        self.close(&mut steps);
        steps
    }

    /// What to do because of the next unit.
    pub(super) fn take(&mut self, unit: Unit<T>) -> Vec<Step<T>> {
        let mut steps = Vec::new();
        let (kind, time, arrival) = (unit.kind, unit.time, unit.arrival);
        self.reached[index(kind)] = self.reached[index(kind)].max(time);
        self.arrived[index(kind)] = arrival;
        if self.end.is_some_and(|end| time > end) {
            return steps;
        }
        self.look(&unit);
        match self.due.filter(|due| time >= due.at) {
            Some(due) if kind == due.kind && unit.keyframe => self.cut(unit, &mut steps),
            Some(due) if kind == MediaKind::Audio && due.kind == MediaKind::Video => self.hold(unit, &mut steps),
            Some(_) if kind == MediaKind::Video => {
                if self.asked.is_none_or(|asked| time >= asked.saturating_add(ASK_AGAIN)) {
                    self.asked = Some(time);
                    steps.push(Step::Ask(time));
                }
                self.give(unit, &mut steps);
            }
            _ => self.give(unit, &mut steps),
        }
        self.end_stalled(arrival, &mut steps);
        steps
    }

    /// Finds out whether a cut is due because of this unit.
    fn look(&mut self, unit: &Unit<T>) {
        let (None, Some(file)) = (self.due, &self.file) else { return };
        if self.former.as_ref().is_some_and(|former| unit.kind == MediaKind::Audio && unit.time < former.until) {
            return;
        }
        let leads = if file.open[0] { MediaKind::Video } else { MediaKind::Audio };
        if !file.fits(unit) {
            let kind = if unit.kind == MediaKind::Video { MediaKind::Video } else { leads };
            self.due = Some(Due { at: unit.time, kind });
            return;
        }
        let full = match self.split {
            Some(Split::Time(length)) => {
                let end = file.at.saturating_add(nanoseconds(length));
                (unit.time >= end).then_some(end)
            }
            Some(Split::Size(limit)) => {
                // As much as came in two seconds may follow before the keyframe does.
                let lasted = unit.time.saturating_sub(file.at).max(2_000_000_000);
                let ahead = u128::from(file.bytes) * 2_000_000_000 / u128::from(lasted);
                (u128::from(file.bytes) + ahead >= u128::from(limit)).then_some(unit.time)
            }
            None => None,
        };
        self.due = full.map(|at| Due { at, kind: leads });
    }

    fn give(&mut self, unit: Unit<T>, steps: &mut Vec<Step<T>>) {
        if unit.time < self.begin {
            return;
        }
        if unit.kind == MediaKind::Audio
            && let Some(former) = &self.former
        {
            if unit.time < former.until && former.form.is_none_or(|form| form == unit.form) {
                steps.push(Step::GiveFormer(unit));
                return;
            }
            self.close(steps);
        }
        // What does not fit is no keyframe: nothing could decode it at the beginning of the next file.
        let Some(file) = self.file.as_mut().filter(|file| file.fits(&unit)) else { return };
        file.forms[index(unit.kind)] = Some(unit.form);
        file.bytes += unit.bytes;
        steps.push(Step::Give(unit));
    }

    fn hold(&mut self, unit: Unit<T>, steps: &mut Vec<Step<T>>) {
        let time = unit.time;
        self.held.push_back(unit);
        // The picture does not come: sound goes on in the file there is.
        while self.held.front().is_some_and(|first| first.time.saturating_add(HOLD) < time) {
            if let Some(first) = self.held.pop_front() {
                self.give(first, steps);
            }
        }
    }

    fn cut(&mut self, unit: Unit<T>, steps: &mut Vec<Step<T>>) {
        let at = unit.time;
        self.arrived = [unit.arrival; 2];
        self.close(steps);
        let before = self.file.take();
        // Sound that does not come is left out until it does.
        let speaks = before.as_ref().is_none_or(|file| file.open[1]) || !self.held.is_empty();
        let video = unit.kind == MediaKind::Video;
        let audio = self.audio && (speaks || !video);
        steps.push(Step::Open { at, video, audio });
        self.file = Some(File { at, bytes: 0, open: [video, audio], forms: [None; 2] });
        self.reached = self.reached.map(|reached| reached.max(at));
        (self.due, self.asked) = (None, None);
        let is_first = before.is_none();
        let held = std::mem::take(&mut self.held);
        if is_first {
            // Sound before the first picture would be a hole in the picture at the beginning.
            self.begin = at;
        }
        if let Some(before) = before {
            self.former = Some(Former { until: at, form: before.forms[1] });
            if !(before.open[1] && video) {
                self.close(steps);
            }
        }
        self.give(unit, steps);
        for unit in held {
            self.give(unit, steps);
        }
        if let Some(Split::Time(length)) = self.split {
            steps.push(Step::Ask(at.saturating_add(nanoseconds(length))));
        }
    }

    fn close(&mut self, steps: &mut Vec<Step<T>>) {
        if self.former.take().is_some() {
            steps.push(Step::Close);
        }
    }

    fn end_stalled(&mut self, now: u64, steps: &mut Vec<Step<T>>) {
        let latest = self.reached[0].max(self.reached[1]);
        if self.former.as_ref().is_some_and(|former| former.until.saturating_add(STALL) < latest) {
            self.close(steps);
        }
        let both = |file: &&mut File| self.stalls && file.open == [true, true];
        let Some(file) = self.file.as_mut().filter(both) else { return };
        for kind in [MediaKind::Video, MediaKind::Audio] {
            let silent = self.arrived[index(kind)].saturating_add(SILENT) < now;
            if silent && self.reached[index(kind)].saturating_add(STALL) < latest {
                file.open[index(kind)] = false;
                steps.push(Step::End(kind));
                if kind == MediaKind::Video
                    && let Some(due) = &mut self.due
                {
                    due.kind = MediaKind::Audio;
                }
            }
        }
    }
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
