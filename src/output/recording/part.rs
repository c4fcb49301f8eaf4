//! One file of a recording while it is written.

mod placing;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::super::OutputError;
use super::super::spec::Container;
use super::super::streams::Forms;
use super::seekable;
use super::syncing::{self, Syncing};
use crate::media::MediaError;
use crate::media::bus::BusEvent;
use crate::media::clock::MediaClock;
use crate::media::pipeline::LivePipeline;
use crate::media::producer::Tapped;
use crate::media::template::{self, Ends};
use crate::probe::Wanted;
use crate::terms::MediaKind;
use crate::writers;

/// How long muxer and sink may take to write what they hold.
const END_OF_STREAM: Duration = Duration::from_secs(5);

/// How much a disk may be behind before pictures and sound are left out.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(6);

/// A file that has its end.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) file: PathBuf,
    pub(super) start: Timestamp,
    pub(super) duration: Duration,
    /// When it had to end, on the bridge's clock.
    pub(super) until: Duration,
    pub(super) bytes: u64,
    /// It got its name just now, and began then, on the bridge's clock.
    pub(super) placed: Option<Duration>,
}

/// A file while it is written.
#[derive(Debug)]
pub(super) struct Part {
    live: LivePipeline,
    /// Others see that it is written.
    _written: Option<File>,
    /// Not while it changes its place.
    syncing: Option<Syncing>,
    path: PathBuf,
    /// The name that it takes when the disk has as much of it as of the file which has the name now.
    name: Option<PathBuf>,
    placing: Option<JoinHandle<std::io::Result<()>>>,
    container: Container,
    ends: Ends,
    /// Whether it can become a plain MP4: GStreamer 1.22 crashes when it copies VP9 into one.
    plain: bool,
    video: Option<Input>,
    audio: Option<Input>,
    start: Timestamp,
    /// Of its first picture or sound, and the end of its last, in ns on the bridge's clock.
    from: u64,
    until: u64,
}

/// What a file says while it is written.
#[derive(Debug)]
pub(super) enum PartEvent {
    /// Its pipeline says something, or has ended.
    Bus(Option<BusEvent>),
    /// It has its name.
    Placed,
}

/// Where one stream goes in.
#[derive(Debug)]
struct Input {
    appsrc: gst_app::AppSrc,
    /// Something was left out: pictures go on with a keyframe.
    torn: bool,
}

impl Part {
    /// Begins a file, which exists and is empty.
    pub(super) async fn open(
        (container, template): (Container, &str),
        path: &Path,
        clock: &MediaClock,
        forms: &Forms,
        start: Timestamp,
        from: u64,
    ) -> Result<Self, OutputError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ends = forms.ends()?;
        let is_h264 = |caps: &gst::Caps| caps.structure(0).is_some_and(|form| form.name() == "video/x-h264");
        let plain = forms.video.as_ref().is_none_or(is_h264);
        let live = LivePipeline::new(template::build_with(template, &name, ends)?, clock);
        live.element("sink")?.set_property("location", path.to_string_lossy().as_ref());
        let input = |end: &str, caps: &gst::Caps| {
            let appsrc = live
                .element(end)?
                .downcast::<gst_app::AppSrc>()
                .map_err(|_| MediaError::link(format!("pipelines/{template}.launch: `{end}` is not an appsrc")))?;
            appsrc.set_caps(Some(caps));
            appsrc.set_format(gst::Format::Time);
            // A muxer of live streams waits for no stream that is late, and at its end leaves out what is. Here nothing stalls it:
            // the cutter ends a stream that does not come.
            appsrc.set_is_live(false);
            appsrc.set_max_bytes(0);
            appsrc.set_max_buffers(0);
            appsrc.set_max_time(gst::ClockTime::ZERO);
            appsrc.set_automatic_eos(false);
            Ok::<_, MediaError>(Input { appsrc, torn: false })
        };
        let video = forms.video.as_ref().map(|caps| input("video", caps)).transpose()?;
        let audio = forms.audio.as_ref().map(|caps| input("audio", caps)).transpose()?;
        let written = writers::begin(path);
        if let Err(error) = &written {
            tracing::debug!(file = %path.display(), %error, "others do not see that it is written");
        }
        let mut part = Self {
            live,
            _written: written.ok(),
            syncing: Some(Syncing::start(path)),
            path: path.to_owned(),
            name: None,
            placing: None,
            container,
            ends,
            plain,
            video,
            audio,
            start,
            from,
            until: from,
        };
        if let Err(error) = part.live.play().await {
            part.abandon().await;
            return Err(error.into());
        }
        Ok(part)
    }

    fn input(&mut self, kind: MediaKind) -> &mut Option<Input> {
        match kind {
            MediaKind::Video => &mut self.video,
            MediaKind::Audio => &mut self.audio,
        }
    }

    /// Writes one picture or piece of sound. False when it was left out, because the disk is too slow.
    pub(super) fn give(&mut self, kind: MediaKind, tapped: &Tapped) -> bool {
        let end = tapped.time + tapped.buffer.duration().unwrap_or_default();
        self.until = self.until.max(end.nseconds());
        // The other muxers do so themselves.
        let zero = gst::ClockTime::from_nseconds(if self.container == Container::Ogg { self.from } else { 0 });
        let Some(input) = self.input(kind) else { return false };
        let delta = tapped.buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let late = input.appsrc.current_level_time().is_some_and(|level| level > PATIENCE);
        if late || (input.torn && delta) {
            input.torn = true;
            return false;
        }
        input.torn = false;
        // Only the description is copied; the media itself is shared.
        let mut buffer = tapped.buffer.copy();
        if let Some(buffer) = buffer.get_mut() {
            // Encoders and participants count from zeros of their own.
            let shift = |time: Option<gst::ClockTime>| (tapped.time + time?).checked_sub(tapped.buffer.pts()? + zero);
            let time = tapped.time.saturating_sub(zero);
            // Nobody in a call sends pictures in another order than they are shown; a muxer wants it in writing.
            let dts = shift(tapped.buffer.dts()).or((kind == MediaKind::Video).then_some(time));
            buffer.set_dts(dts);
            buffer.set_pts(time);
        }
        if input.appsrc.caps().as_ref() != Some(&tapped.caps) {
            input.appsrc.set_caps(Some(&tapped.caps));
        }
        input.appsrc.push_buffer(buffer).is_ok()
    }

    /// Pictures and pieces of sound that are not written yet.
    pub(super) fn waiting(&self) -> u64 {
        let inputs = [&self.video, &self.audio].into_iter().flatten();
        inputs.map(|input| input.appsrc.current_level_buffers()).sum()
    }

    /// Ends one stream; the other goes on.
    pub(super) fn end(&mut self, kind: MediaKind) {
        if let Some(input) = self.input(kind).take()
            && input.appsrc.end_of_stream().is_err()
        {
            tracing::debug!(%kind, "was already stopped");
        }
    }

    /// What happens next; fails when the disk does not take what was written.
    pub(super) async fn next_event(&mut self) -> Result<PartEvent, OutputError> {
        tokio::select! {
            event = self.live.next_event() => Ok(PartEvent::Bus(event)),
            error = async { match &mut self.syncing { Some(syncing) => syncing.failed().await, None => std::future::pending().await } } => Err(error),
            placed = async { match &mut self.placing { Some(placing) => placing.await, None => std::future::pending().await } } => {
                self.placed(placed)?;
                self.syncing = Some(Syncing::start(&self.path));
                Ok(PartEvent::Placed)
            }
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What a player finds in it.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted { video: self.ends.video.is_some(), audio: self.ends.audio.is_some() }
    }

    /// When its own time begins, in ns on the bridge's clock.
    pub(super) fn from(&self) -> u64 {
        self.from
    }

    /// Writes the end, which is due at `until` (ns on the bridge's clock), and makes an MP4 seekable. Fails when the end could not
    /// be written.
    pub(super) async fn finish(mut self, until: u64) -> Result<Finished, OutputError> {
        self.end(MediaKind::Video);
        self.end(MediaKind::Audio);
        let end = async {
            loop {
                match self.live.next_event().await {
                    Some(BusEvent::Eos) => return Ok(()),
                    Some(BusEvent::Error(fault)) => return Err(OutputError::Pipeline(fault)),
                    Some(BusEvent::Warning(fault)) => tracing::warn!(%fault, "while a file ended"),
                    None => return Err(OutputError::Ended),
                }
            }
        };
        let ended = tokio::time::timeout(END_OF_STREAM, end).await.unwrap_or_else(|_| {
            Err(OutputError::NotReady { what: "the end of the stream was not written".into(), waited: END_OF_STREAM })
        });
        self.live.stop().await;
        ended?;
        let placed = self.name.is_some().then(|| Duration::from_nanos(self.from));
        self.settle().await?;
        if self.container == Container::Mp4 && self.plain {
            seekable::make(&self.path, self.ends).await;
        }
        // Whoever hears that it is complete may delete what it was made of.
        syncing::complete(&self.path).await?;
        let bytes = std::fs::metadata(&self.path).map_err(OutputError::io(&self.path))?.len();
        let duration = Duration::from_nanos(self.until.saturating_sub(self.from));
        let until = Duration::from_nanos(until);
        Ok(Finished { file: self.path, start: self.start, duration, until, bytes, placed })
    }

    /// Stops, and takes the file away, unless it has its name or just gets it: then it is given back.
    pub(super) async fn discard(mut self) -> Option<Self> {
        if self.placing.is_some()
            && let Err(error) = self.settle().await
        {
            tracing::debug!(%error, "the file stays where it is");
        }
        if self.name.is_none() {
            return Some(self);
        }
        self.live.stop().await;
        std::fs::remove_file(&self.path).ok();
        None
    }

    /// Stops; the file is another's, or nobody's.
    pub(super) async fn drop_quietly(self) {
        self.live.stop().await;
    }

    /// Stops without an end: what is on the disk stays, unless that is nothing. Returns which file it was, and how long.
    pub(super) async fn abandon(self) -> (PathBuf, Duration) {
        self.live.stop().await;
        if std::fs::metadata(&self.path).is_ok_and(|file| file.len() == 0) {
            std::fs::remove_file(&self.path).ok();
        }
        (self.path, Duration::from_nanos(self.until.saturating_sub(self.from)))
    }
}

#[cfg(test)]
mod tests;
