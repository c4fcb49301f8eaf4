//! HLS of fragmented MP4, with parts of segments for low latency: GStreamer muxes, files and playlists are ours.
//!
//! What is muxed is written on the muxer's thread, as a file sink would: the bounded queues in front of the muxer drop and count
//! what a slow disk cannot take.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use tokio::sync::watch;

use super::super::OutputError;
use super::super::attached::Attached;
use super::super::players::Play;
use super::super::spec::{HlsDestination, HlsFormat, HlsMode, Stream, Tracks};
use super::super::streams::Forms;
use super::super::tail::{Session, Tail};
use super::cutting::{Cuts, Lengths};
use super::directory::{Directory, INDEX, at_path};
use super::earlier;
use super::keyframes;
use super::playlist::{Kind, Playlist};
use super::presentation::{Presentation, Track};
use super::rendition::{Form, Rendition, unfinished};
use super::writing;
use crate::media::producer::Patience;
use crate::probe::{self, Source, Wanted};

#[derive(Debug)]
pub(crate) struct FragmentsTail {
    destination: HlsDestination,
    tracks: Tracks,
    session: Session,
    /// An earlier attempt, or a bridge that is known to have been killed, has left playlists that go on.
    resumes: bool,
    /// How many segments are complete in every rendition.
    complete: OnceLock<watch::Receiver<u64>>,
}

/// One muxer of the pipeline, and the rendition it makes.
struct Branch {
    mux: String,
    sink: String,
    rendition: Option<String>,
    stream: Stream,
}

impl FragmentsTail {
    pub(crate) fn new(destination: HlsDestination, tracks: Tracks, session: Session, attempt: u32) -> Self {
        let resumes = attempt > 0 || session.resume;
        Self { destination, tracks, session, resumes, complete: OnceLock::new() }
    }

    fn branches(&self) -> Vec<Branch> {
        let branch = |end: &str, rendition: String, stream| Branch {
            mux: format!("{end}-mux"),
            sink: format!("{end}-sink"),
            rendition: Some(rendition),
            stream,
        };
        let Some(renditions) = &self.destination.renditions else {
            let stream = self.tracks.iter().next().unwrap_or(Stream::Aac);
            return vec![Branch { mux: "mux".into(), sink: "sink".into(), rendition: None, stream }];
        };
        let name = |stream| match stream {
            Stream::Rendition(height) => format!("{}p", height.0),
            _ => "audio".to_owned(),
        };
        let first = self.tracks.video.map(|stream| branch("video", name(stream), stream));
        let lower = renditions.lower.iter().enumerate();
        let lower = lower.map(|(index, stream)| branch(&format!("lower{index}"), name(*stream), *stream));
        let audio = self.tracks.audio.map(|stream| branch("audio", name(stream), stream));
        first.into_iter().chain(lower).chain(audio).collect()
    }

    /// How long a part is: as many pictures as fit, because a picture is never cut.
    fn part(&self) -> Duration {
        let rate = f64::from(self.session.fps.max(1));
        let pictures = (f64::from(self.destination.part) * rate / 1000.0).round().max(1.0);
        Duration::from_secs_f64(pictures / rate)
    }

    /// What part and segment may be longer than they should: a picture, or a piece of sound.
    fn playlist(&self, stream: Stream) -> Playlist {
        let is_sound = stream.kind() == crate::terms::MediaKind::Audio;
        let kind = match self.destination.mode {
            HlsMode::Live => Kind::Live,
            HlsMode::Event => Kind::Event,
            HlsMode::Vod => Kind::Vod,
        };
        let parts = self.destination.format == HlsFormat::LowLatency;
        let slack = Duration::from_millis(if is_sound { 22 } else { 1 });
        // A copied stream has its keyframes a little later than asked for.
        let late = u32::from(stream.is_copied() && !is_sound);
        Playlist::new(kind, self.destination.segment + late, parts.then(|| self.part() + slack))
    }

    /// A sender far away knows nothing of our running time.
    fn on_grid(&self) -> bool {
        self.tracks.video != Some(Stream::CopiedVideo)
    }

    fn track(&self, branch: &Branch, directory: &Directory) -> Track {
        let rendition = Rendition::new(
            (directory.clone(), Form::Fragments),
            branch.rendition.as_deref(),
            self.destination.list as usize,
            self.playlist(branch.stream),
        );
        let (video, audio) = self.session.bitrates;
        let nominal = match branch.stream {
            Stream::Rendition(height) => height.bitrate(video, self.session.height).into(),
            stream if stream.kind() == crate::terms::MediaKind::Audio => audio.into(),
            _ => u64::from(video) + u64::from(audio),
        };
        let is_sound = branch.stream.kind() == crate::terms::MediaKind::Audio;
        Track { rendition, nominal, known: None, is_sound }
    }

    /// The media playlists, with what is in each.
    fn playlists(&self, wanted: Wanted) -> Vec<(PathBuf, Wanted)> {
        let branches = self.branches().into_iter();
        let one = |Branch { rendition, stream, .. }: Branch| match rendition {
            None => (self.destination.directory.join(INDEX), wanted),
            Some(rendition) => {
                let audio = stream.kind() == crate::terms::MediaKind::Audio;
                (self.destination.directory.join(format!("{rendition}.m3u8")), Wanted { audio, video: !audio })
            }
        };
        branches.map(one).collect()
    }
}

#[async_trait]
impl Tail for FragmentsTail {
    fn template(&self) -> &'static str {
        if self.destination.renditions.is_some() { "hls-renditions" } else { "hls-fmp4" }
    }

    fn patience(&self) -> Patience {
        Patience::Disk
    }

    fn accept(&self, forms: &Forms) -> Result<(), OutputError> {
        let known = ["video/x-h264", "video/x-vp9", "video/x-av1", "audio/mpeg", "audio/x-opus"];
        forms.only(&known, "HLS of fragmented MP4", "let it send H.264, VP9 or AV1 with --codecs, and Opus")
    }

    fn configure(&self, attached: &Attached) -> Result<(), OutputError> {
        let directory = Directory(self.destination.directory.clone());
        let branches = self.branches();
        let mut tracks: Vec<_> = branches.iter().map(|branch| self.track(branch, &directory)).collect();
        let renditions = tracks.iter_mut().map(|track| &mut track.rendition);
        earlier::take_up(&directory, renditions, self.resumes).map_err(at_path)?;
        let choice = self.destination.renditions.as_ref().map(|renditions| renditions.audio);
        let presentation = Presentation::new(directory, tracks, choice);
        self.complete.set(presentation.complete.subscribe()).ok();
        let presentation = Arc::new(Mutex::new(presentation));
        for (index, branch) in branches.iter().enumerate() {
            let mux = attached.element(&branch.mux)?;
            mux.set_property("manual-split", true);
            if !self.on_grid() {
                keyframes::decoded_as_shown(&mux);
            }
            let cuts = Cuts::watch(
                &mux,
                Lengths {
                    segment: Duration::from_secs(self.destination.segment.into()),
                    part: (self.destination.format == HlsFormat::LowLatency).then(|| self.part()),
                    on_grid: self.on_grid(),
                },
            );
            let sink = attached
                .element(&branch.sink)?
                .downcast::<gst_app::AppSink>()
                .map_err(|_| crate::media::MediaError::Link(format!("`{}` is not an appsink", branch.sink)))?;
            writing::write(&sink, &mux, index, cuts, Arc::clone(&presentation));
        }
        if !self.on_grid() {
            keyframes::ask_in_time(attached, gst::ClockTime::ZERO)?;
        }
        Ok(())
    }

    async fn verify(&self, _: &gst::Pipeline, wanted: Wanted) -> Result<Play, OutputError> {
        let patience = Duration::from_secs(10 + 3 * u64::from(self.destination.segment));
        if let Some(complete) = self.complete.get() {
            earlier::first_of_ours(complete, patience).await?;
        }
        for (playlist, wanted) in self.playlists(wanted) {
            let playlist = match self.destination.mode {
                HlsMode::Vod => {
                    let name = playlist.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                    playlist.with_file_name(unfinished(&name))
                }
                HlsMode::Live | HlsMode::Event => playlist,
            };
            probe::first_frames(Source::File(playlist), wanted, patience).await?;
        }
        let index = self.destination.directory.join(INDEX);
        Ok(Play::file(&index))
    }
}
