//! Recordings: Matroska, MP4, WebM, Ogg and WAV, in one file or in parts.
//!
//! What is on the disk is playable at every moment, whatever ends the process: an MP4 is written in fragments, and made into
//! a plain seekable file when it has its end. `cutter.rs` says what goes into which file, `files.rs` begins and ends them, `part.rs` is
//! one while it is written, `ahead.rs` what is written before its times are known, `naming.rs` what it is called, `thumbs.rs` the
//! pictures beside it. Called by the supervisor, once for each attempt; `reel.rs` is what outlives one.

mod ahead;
mod cutter;
mod files;
mod fitting;
mod forms;
mod keyframe;
mod naming;
mod part;
mod reel;
mod seekable;
mod syncing;
mod thumbs;

use std::pin::{Pin, pin};
use std::time::Duration;

use gstreamer as gst;
use tokio::sync::mpsc;

use self::ahead::Ahead;
pub(crate) use self::ahead::beside;
pub(super) use self::cutter::fuzz_cutter;
use self::cutter::{Cutter, Step, Unit};
use self::forms::KnownForms;
use self::part::{Part, PartEvent};
pub(super) use self::reel::Reel;
use self::reel::tell_began;
use self::thumbs::Thumbnails;
use super::OutputError;
use super::events::OutputEvent;
use super::players::Play;
use super::spec::{Container, FileDestination, Split, Stream};
use super::stall;
use super::streams::{Forms, Sources};
use super::supervisor::Output;
use crate::media::bus::BusEvent;
use crate::media::producer::{Producer, Tap, Tapped};
use crate::probe::ProbeError;
use crate::terms::MediaKind;

/// How long what was mixed before the stop may take to come out of the encoders.
const DRAIN: Duration = Duration::from_secs(1);

/// Buffers that may wait while a file is opened: some seconds of picture and sound.
const WAITING: usize = 512;

/// What comes within this time is written together: each unit that goes alone wakes this task, a parser and a muxer. A file is behind by so much; nobody looks at it before it is ready.
const GATHER: Duration = Duration::from_millis(100);

/// The length of a WAV is a number of 32 bits.
const LARGEST_WAV: u64 = 4_000_000_000;

/// Records until the output is to stop (`Ok`, everything complete) or fails.
pub(super) async fn run(
    output: &Output,
    file: &FileDestination,
    sources: Sources,
    forms: Forms,
    reel: &mut Reel,
    was_ready: &mut bool,
) -> Result<(), OutputError> {
    let mut recording = Recording::start(output, file, &sources, forms)?;
    let mut thumbs = match file.thumbs {
        Some(wanted) => {
            let pictures = output.streams.get(Stream::Pictures).ok_or(OutputError::NoStream(Stream::Pictures))?;
            Some(Thumbnails::start(output, file, wanted, pictures, reel.thumbs).await?)
        }
        None => None,
    };
    let ended = recording.run(reel, was_ready).await;
    if let Some(thumbs) = thumbs.take() {
        reel.thumbs = thumbs.stop().await;
    }
    match ended {
        Ok(()) => {
            recording.hand_over(reel);
            reel.complete(output).await?;
            if let Some(ahead) = recording.ahead.take() {
                ahead.end().await;
            }
            Ok(())
        }
        Err(error) => {
            // The file before has everything that it should have.
            recording.finish_former(reel);
            ahead::abandon(output, recording.part.take(), recording.ahead.take()).await;
            Err(error)
        }
    }
}

type Proof = Pin<Box<dyn Future<Output = Result<Play, ProbeError>> + Send>>;

struct Recording<'a> {
    output: &'a Output,
    file: &'a FileDestination,
    cutter: Cutter<Tapped>,
    taps: Vec<Tap>,
    incoming: mpsc::Receiver<(MediaKind, Tapped)>,
    video: Option<Producer>,
    known: KnownForms,
    part: Option<Part>,
    former: Option<Part>,
    /// Until the first file has what waited for its time.
    ahead: Option<Ahead>,
    /// When it may have it.
    settled: Option<tokio::time::Instant>,
    dropped: u64,
    /// When it had to end, in ns on the bridge's clock.
    end: Option<u64>,
    proof: Option<Proof>,
    proven: bool,
}

impl<'a> Recording<'a> {
    fn start(
        output: &'a Output,
        file: &'a FileDestination,
        sources: &Sources,
        forms: Forms,
    ) -> Result<Self, OutputError> {
        let (sender, incoming) = mpsc::channel(WAITING);
        let tap = |kind, producer: &Producer| {
            let sender = sender.clone();
            producer.tap(move |tapped| sender.try_send((kind, tapped)).is_ok())
        };
        let start = output.clock.running_time();
        let taps = [(MediaKind::Video, &sources.video), (MediaKind::Audio, &sources.audio)];
        let taps = taps.into_iter().filter_map(|(kind, producer)| Some(tap(kind, producer.as_ref()?))).collect();
        if let Some(video) = &sources.video {
            video.request_keyframe(start);
        }
        let wav = (file.container == Container::Wav).then_some(Split::Size(LARGEST_WAV));
        let split = file.split.or(wav);
        let stalls = output.spec.tracks.iter().any(Stream::is_copied);
        Ok(Self {
            output,
            file,
            cutter: Cutter::new(sources.video.is_some(), sources.audio.is_some(), stalls, split, start.nseconds()),
            taps,
            incoming,
            video: sources.video.clone(),
            ahead: stalls.then(|| Ahead::new(file.container, sources, forms.clone(), start.nseconds())),
            known: KnownForms::new(file.container, forms),
            part: None,
            former: None,
            settled: None,
            dropped: 0,
            end: None,
            proof: None,
            proven: false,
        })
    }

    async fn run(&mut self, reel: &mut Reel, was_ready: &mut bool) -> Result<(), OutputError> {
        let mut count = tokio::time::interval(stall::TICK);
        let mut deadline = None;
        let (mut units, mut gathers) = (Vec::new(), false);
        let mut gathered = pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            if deadline.is_some() && self.cutter.is_over() {
                break;
            }
            tokio::select! {
                () = self.output.stop.cancelled(), if deadline.is_none() => {
                    // What happened before the stop is still on its way through mixer and encoders: a recording has it too.
                    let end = self.output.clock.running_time().nseconds();
                    self.cutter.end(end);
                    self.ahead.iter_mut().for_each(|ahead| ahead.end_at(end));
                    self.end = Some(end);
                    deadline = Some(tokio::time::Instant::now() + DRAIN);
                }
                () = until(deadline) => break,
                () = &mut gathered, if gathers => gathers = false,
                1.. = self.incoming.recv_many(&mut units, WAITING), if !gathers || deadline.is_some() => {
                    for (kind, tapped) in units.drain(..) {
                        self.take(kind, tapped, reel).await?;
                    }
                    gathers = *was_ready;
                    gathered.as_mut().reset(tokio::time::Instant::now() + GATHER);
                }
                event = next_event(self.part.as_mut()) => self.heard(event?).await?,
                event = next_event(self.ahead.as_mut().and_then(|ahead| ahead.part(0))) => self.heard(event?).await?,
                () = until(self.settled) => self.settle().await,
                proven = async { match &mut self.proof { Some(proof) => proof.await, None => std::future::pending().await } } => {
                    self.proof = None;
                    let play = proven?;
                    *was_ready = true;
                    self.output.tell(OutputEvent::Ready { output: self.output.spec.to_string(), play }).await;
                }
                Some(finished) = reel.finishing.join_next() => reel.finished(self.output, finished).await,
                _ = count.tick() => {
                    let pushed = self.taps.iter().map(Tap::pushed).sum();
                    let dropped = self.taps.iter().map(Tap::dropped).sum::<u64>() + self.dropped;
                    let (output, waiting) = (self.output.spec.to_string(), self.waiting());
                    self.output.tell(OutputEvent::Counted { output, pushed, dropped, waiting }).await;
                }
            }
        }
        self.taps.clear();
        for step in self.cutter.rest() {
            self.obey(step, reel).await?;
        }
        Ok(())
    }

    /// What neither the cutter nor the disk has taken yet.
    fn waiting(&self) -> u64 {
        let parts = [&self.former, &self.part].into_iter().flatten();
        self.incoming.len() as u64 + parts.map(Part::waiting).sum::<u64>()
    }

    async fn take(&mut self, kind: MediaKind, tapped: Tapped, reel: &mut Reel) -> Result<(), OutputError> {
        let arrival = self.output.clock.running_time().nseconds();
        let ahead = self.ahead.as_mut().map(|ahead| ahead.take(kind, &tapped, arrival)).unwrap_or_default();
        if !tapped.early {
            let form = self.known.note(kind, &tapped.caps);
            for step in self.cutter.take(ahead::unit(kind, tapped, arrival, form)) {
                self.obey(step, reel).await?;
            }
        }
        for step in ahead {
            self.obey_ahead(step, reel).await?;
        }
        Ok(())
    }

    /// What the pipeline of a file says.
    async fn heard(&mut self, event: PartEvent) -> Result<(), OutputError> {
        match event {
            PartEvent::Placed => {
                if let Some(part) = &self.part {
                    tell_began(self.output, part.path().to_owned(), Duration::from_nanos(part.from())).await;
                }
                self.end_ahead().await;
            }
            PartEvent::Bus(Some(BusEvent::Error(fault))) => return Err(OutputError::Pipeline(fault)),
            PartEvent::Bus(Some(BusEvent::Warning(fault))) => tracing::warn!(output = %self.output.spec, %fault),
            PartEvent::Bus(Some(BusEvent::Eos) | None) => return Err(OutputError::Ended),
        }
        Ok(())
    }

    async fn obey(&mut self, step: Step<Tapped>, reel: &mut Reel) -> Result<(), OutputError> {
        match step {
            Step::Open { at, video, audio } => {
                self.former = self.part.take();
                self.open(at, video, audio, reel).await?;
            }
            Step::Give(unit) => self.dropped += give(self.part.as_mut(), unit),
            Step::GiveFormer(unit) => self.dropped += give(self.former.as_mut(), unit),
            Step::Close => self.finish_former(reel),
            Step::End(kind) => {
                tracing::info!(output = %self.output.spec, %kind, "nothing comes: the file goes on without it");
                if let Some(part) = &mut self.part {
                    part.end(kind);
                }
            }
            Step::Ask(at) => {
                if let Some(video) = &self.video {
                    let ahead = at > self.output.clock.running_time().nseconds();
                    // A participant is asked when it is time: its keyframe comes at once, an encoder's when it was asked for.
                    let copied = self.output.spec.tracks.video.is_some_and(Stream::is_copied);
                    if !(ahead && copied) {
                        video.request_keyframe(gst::ClockTime::from_nseconds(at));
                    }
                }
            }
        }
        Ok(())
    }
}

/// How many units were lost: one or none.
fn give(part: Option<&mut Part>, unit: Unit<Tapped>) -> u64 {
    u64::from(!part.is_some_and(|part| part.give(unit.kind, &unit.payload)))
}

async fn next_event(part: Option<&mut Part>) -> Result<PartEvent, OutputError> {
    match part {
        Some(part) => part.next_event().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
