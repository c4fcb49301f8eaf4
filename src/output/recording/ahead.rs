//! What is written before its times are certain: a recording that was killed in its first seconds has them all the same.
//!
//! What is copied waits for the sender reports, up to three seconds. Meanwhile it is written as it arrives, under the recording's own
//! names: sound and picture may be as far apart there as their ways differ. When the times are known the recording itself is
//! begun, in files beside these, and each takes the place of the one with its name when the disk has as much.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gstreamer as gst;

use super::super::OutputError;
use super::super::events::OutputEvent;
use super::super::spec::Container;
use super::super::streams::{Forms, Sources};
use super::super::supervisor::Output;
use super::cutter::{Cutter, Step, Unit};
use super::forms::KnownForms;
use super::naming::with_stem;
use super::part::Part;
use super::{Recording, Reel, keyframe};
use crate::media::producer::Tapped;
use crate::terms::MediaKind;

/// How long the recording itself must have run: what waited has passed its muxer then, and flows.
pub(super) const SETTLED: Duration = Duration::from_millis(500);

/// The least distance between two pictures.
const NEXT: gst::ClockTime = gst::ClockTime::from_mseconds(1);

/// The files that are written ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    cutter: Cutter<Tapped>,
    known: KnownForms,
    parts: Vec<Part>,
    /// Their names, as far as no file of the recording itself has them.
    names: VecDeque<PathBuf>,
    /// Sound, and pictures.
    streams: [Stream; 2],
}

/// What has come of one kind.
#[derive(Debug, Default)]
struct Stream {
    /// Where the media lies that comes again.
    waiting: VecDeque<usize>,
    /// When the last of it was taken.
    reached: gst::ClockTime,
}

impl Stream {
    /// Whether it is here already, or older than what is.
    fn has(&mut self, tapped: &Tapped) -> bool {
        let place = (tapped.buffer.n_memory() > 0).then(|| tapped.buffer.peek_memory(0).as_ptr().addr());
        let has = !tapped.early && !self.waiting.is_empty();
        if tapped.early {
            self.waiting.extend(place);
        } else if let Some(before) = self.waiting.iter().position(|waiting| Some(*waiting) == place) {
            self.waiting.drain(..=before);
        }
        has
    }
}

impl Ahead {
    /// Begins nothing before something waits.
    pub(super) fn new(container: Container, sources: &Sources, forms: Forms, start: u64) -> Self {
        Self {
            // Where the recording is cut is cut when its times are known.
            cutter: Cutter::new(sources.video.is_some(), sources.audio.is_some(), true, None, start),
            known: KnownForms::new(container, forms),
            parts: Vec::new(),
            names: VecDeque::new(),
            streams: Default::default(),
        }
    }

    /// Ends with what was taken until this time.
    pub(super) fn end_at(&mut self, at: u64) {
        self.cutter.end(at);
    }

    /// Whether there is a file.
    pub(super) fn has_begun(&self) -> bool {
        !self.parts.is_empty()
    }

    /// What to do because of this unit.
    pub(super) fn take(&mut self, kind: MediaKind, tapped: &Tapped, arrival: u64) -> Vec<Step<Tapped>> {
        let stream = &mut self.streams[usize::from(kind == MediaKind::Video)];
        if stream.has(tapped) {
            return Vec::new();
        }
        // What comes with its time may lie before what came without: what has no room is left out, but for a picture, on which the next
        // ones build.
        let time = if kind == MediaKind::Video { tapped.time.max(stream.reached + NEXT) } else { tapped.time };
        if time <= stream.reached {
            return Vec::new();
        }
        stream.reached = time;
        let form = self.known.note(kind, &tapped.caps);
        self.cutter.take(unit(kind, Tapped { time, ..tapped.clone() }, arrival, form))
    }

    /// The form of what a file gets.
    pub(super) fn forms(&self, video: bool, audio: bool) -> Forms {
        self.known.of(video, audio)
    }

    /// Takes a file that has been begun.
    pub(super) fn begin(&mut self, part: Part) {
        self.names.push_back(part.path().to_owned());
        self.parts.push(part);
    }

    /// The file that is written, or the one before it.
    pub(super) fn part(&mut self, before: usize) -> Option<&mut Part> {
        let index = self.parts.len().checked_sub(1 + before)?;
        self.parts.get_mut(index)
    }

    /// The name of the next file of the recording itself.
    pub(super) fn claim(&mut self) -> Option<PathBuf> {
        self.names.pop_front()
    }

    /// The recording itself has everything.
    pub(super) async fn end(self) {
        for part in self.parts {
            part.drop_quietly().await;
        }
        for name in self.names {
            tracing::debug!(file = %name.display(), "the recording itself has it in fewer files");
            std::fs::remove_file(name).ok();
        }
    }

    /// It is the recording: the times never became known.
    pub(super) fn hand_over(self, reel: &mut Reel, until: u64) {
        for part in self.parts {
            reel.finishing.spawn(part.finish(until));
        }
    }
}

impl Recording<'_> {
    /// Does what is to be done ahead.
    pub(super) async fn obey_ahead(&mut self, step: Step<Tapped>, reel: &mut Reel) -> Result<(), OutputError> {
        let Some(ahead) = &mut self.ahead else { return Ok(()) };
        match step {
            Step::Open { at, video, audio } => {
                let forms = ahead.forms(video, audio);
                let part = self.begin(at, forms, None, reel).await?;
                if let Some(ahead) = &mut self.ahead {
                    ahead.begin(part);
                }
            }
            // What is lost here comes again.
            Step::Give(unit) => drop(ahead.part(0).map(|part| part.give(unit.kind, &unit.payload))),
            Step::GiveFormer(unit) => drop(ahead.part(1).map(|part| part.give(unit.kind, &unit.payload))),
            Step::Close => {}
            Step::End(kind) => drop(ahead.part(0).map(|part| part.end(kind))),
            Step::Ask(_) => return self.obey(step, reel).await,
        }
        Ok(())
    }

    /// The file takes its place as soon as it has as much as the one that is there.
    pub(super) async fn settle(&mut self) {
        let again = tokio::time::Instant::now() + SETTLED;
        self.settled = self.part.as_mut().is_some_and(|part| !part.place()).then_some(again);
        if self.settled.is_none() && self.part.as_ref().is_none_or(|part| part.name().is_none()) {
            self.end_ahead().await;
        }
    }

    /// The recording itself has everything that was written ahead.
    pub(super) async fn end_ahead(&mut self) {
        if let Some(ahead) = self.ahead.take() {
            ahead.end().await;
        }
        if let Some(part) = &self.part {
            let (path, wanted) = (part.path().to_owned(), part.wanted());
            self.prove(path, wanted);
        }
    }
}

/// Ends what a recording that has failed was writing: what is on the disk stays.
pub(super) async fn abandon(output: &Output, part: Option<Part>, ahead: Option<Ahead>) {
    let (mut left, mut names) = (Vec::new(), VecDeque::new());
    if let Some(part) = part {
        names.extend(part.name().map(Path::to_owned));
        left.extend(part.discard().await);
    }
    if !left.is_empty() {
        names.clear();
    }
    if let Some(ahead) = ahead {
        names.extend(ahead.names);
        for part in ahead.parts {
            // The others have been replaced.
            if names.iter().any(|name| name == part.path()) { left.push(part) } else { part.drop_quietly().await }
        }
    }
    for part in left {
        let (path, length) = part.abandon().await;
        let until = output.clock.running_time().into();
        output.tell(OutputEvent::FileEnded { path, length, until, complete: false }).await;
    }
}

/// What the cutter must know.
pub(super) fn unit(kind: MediaKind, tapped: Tapped, arrival: u64, form: u32) -> Unit<Tapped> {
    Unit {
        kind,
        time: tapped.time.nseconds(),
        arrival,
        keyframe: kind == MediaKind::Audio || keyframe::is_keyframe(&tapped.buffer, &tapped.caps),
        bytes: u64::try_from(tapped.buffer.size()).unwrap_or_default(),
        form,
        payload: tapped,
    }
}

/// Where a file is written until it takes the place of the one with this name.
pub(crate) fn beside(path: &Path) -> PathBuf {
    with_stem(path, |stem| format!(".{stem}.placing"))
}

/// Makes an empty file there.
pub(super) fn create_beside(path: &Path) -> Result<PathBuf, OutputError> {
    let beside = beside(path);
    std::fs::File::create(&beside).map_err(OutputError::io(&beside))?;
    Ok(beside)
}
