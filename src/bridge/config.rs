//! What a bridge is to do, checked before the room is joined.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use super::verify::Verify;
use super::{BridgeError, uplink};
use crate::media::clock::MediaClock;
use crate::media::elements::{self, Job};
use crate::media::encoder::{EncoderChoice, EncoderSettings, aac_template};
use crate::media::layout::{Layout, Size};
use crate::media::mixer::Canvas;
use crate::media::{self, template};
use crate::output::spec::Destination;
use crate::output::{self, OutputSpec, Stream};
use crate::peer::NetworkConfig;
use crate::signaling::{RoomUrl, Scheme};
use crate::terms::{Codec, IceServer};

/// How much later than asked for the encoder makes a keyframe by itself when an output asks for its own, in seconds.
const KEYFRAME_SLACK: f64 = 0.2;

/// What a bridge is to do.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// The room to join.
    pub room: RoomUrl,
    /// Where the mix goes.
    pub outputs: Vec<OutputSpec>,
    /// Size and rate of the mix.
    pub canvas: Canvas,
    /// How participants share the canvas.
    pub layout: Layout,
    /// Which H.264 encoder.
    pub encoder: EncoderChoice,
    /// Bits per second of video.
    pub video_bitrate: u32,
    /// Bits per second of sound.
    pub audio_bitrate: u32,
    /// Speed against quality, in x264's words.
    pub preset: String,
    /// Seconds from one keyframe to the next.
    pub gop: f64,
    /// The codecs to offer, most wanted first.
    pub codecs: Vec<Codec>,
    /// How long a lost packet may take to arrive again.
    pub jitter_latency: Duration,
    /// End after this time.
    pub duration: Option<Duration>,
    /// End when nobody else was in the room for this time.
    pub exit_when_empty: Option<Duration>,
    /// More participants than this are not let in.
    pub max_participants: usize,
    /// Recordings end when their disk has fewer free bytes than this.
    pub disk_floor: u64,
    /// The oldest complete recordings are deleted before that.
    pub prune: bool,
    /// How long outputs may take to write their end.
    pub stop_timeout: Duration,
    /// STUN and TURN servers, besides those which the room gives.
    pub ice_servers: Vec<IceServer>,
    /// Local addresses and ports for media.
    pub network: NetworkConfig,
    /// The `Origin` header for the room's server.
    pub origin: Option<String>,
    /// An earlier bridge of this room was killed: files get the numbers after its own, HLS playlists go on.
    pub resume: bool,
    /// Where the manifest of the session is written; `None` is beside the files of participants, if there are any.
    pub manifest: Option<PathBuf>,
    /// Where the caller is going to write what the run was like: checked, not written.
    pub report: Option<PathBuf>,
    /// How finished recordings are decoded once more; `None` does not.
    pub verify: Option<Verify>,
    /// Another clock than the machine's, for a simulation: days in minutes.
    pub clock: Option<MediaClock>,
}

impl BridgeConfig {
    /// The defaults of `roomcast bridge` for a room and its outputs.
    pub fn new(room: RoomUrl, outputs: Vec<OutputSpec>) -> Self {
        Self {
            room,
            outputs,
            canvas: Canvas { size: Size { width: 1280, height: 720 }, fps: 30 },
            layout: Layout::Grid,
            encoder: EncoderChoice::Auto,
            video_bitrate: 2_000_000,
            audio_bitrate: 128_000,
            preset: "superfast".into(),
            gop: 2.0,
            codecs: Codec::ALL.to_vec(),
            jitter_latency: Duration::from_millis(200),
            duration: None,
            exit_when_empty: None,
            max_participants: 100,
            disk_floor: 500_000_000,
            prune: false,
            stop_timeout: Duration::from_secs(10),
            ice_servers: Vec::new(),
            network: NetworkConfig::default(),
            origin: None,
            report: None,
            resume: false,
            manifest: None,
            verify: None,
            clock: None,
        }
    }

    /// Checks everything that can be known before joining. Returns the codecs that this machine can decode, in the order
    /// asked for.
    pub(crate) fn check(&self) -> Result<Vec<Codec>, BridgeError> {
        elements::init().map_err(|error| BridgeError::Config(error.to_string()))?;
        if self.room.scheme() == Scheme::Whip {
            let reason =
                "a WHIP endpoint takes media and gives none: name it with -o, and a room to take the media from";
            return Err(BridgeError::Config(format!("{}: {reason}", self.room)));
        }
        let Canvas { size: Size { width, height }, fps } = self.canvas;
        if !(16..=7680).contains(&width) || !(16..=4320).contains(&height) || width % 2 == 1 || height % 2 == 1 {
            return Err(BridgeError::Config(format!(
                "--size {width}x{height}: use even numbers from 16x16 to 7680x4320, for example 1280x720"
            )));
        }
        if !(1..=120).contains(&fps) {
            return Err(BridgeError::Config(format!("--fps {fps}: use 1 to 120")));
        }
        if !(0.1..=60.0).contains(&self.gop) {
            return Err(BridgeError::Config(format!("--gop {}: use 0.1 to 60 seconds", self.gop)));
        }
        if self.outputs.is_empty() {
            return Err(BridgeError::Config("there is no output: add -o call.mkv, for example".into()));
        }
        let mut claimed = HashMap::new();
        for spec in &self.outputs {
            for claim in spec.claims() {
                if let Some(other) = claimed.insert(claim.clone(), spec) {
                    return Err(spec.refuse(format!("{claim} is used by output `{other}` as well")).into());
                }
            }
        }
        for (option, file) in [("--report", &self.report), ("--manifest", &self.manifest)] {
            let Some(file) = file else { continue };
            let claim = output::path_claim(file);
            if let Some(other) = claimed.get(&claim) {
                return Err(BridgeError::Config(format!(
                    "{option} {}: output `{other}` writes to it as well: choose another name",
                    file.display()
                )));
            }
            output::check_file(file).map_err(|error| {
                BridgeError::Config(format!("{option} {}: cannot be written: {error}", file.display()))
            })?;
        }
        for job in [Job::Receive, Job::Mix, Job::Probe] {
            if let Some(missing) = elements::missing_for(job) {
                return Err(BridgeError::Config(missing.to_string()));
            }
        }
        for spec in &self.outputs {
            uplink::check(spec, &self.room)?;
            if let Some(missing) = spec.jobs().iter().find_map(|job| elements::missing_for(*job)) {
                return Err(spec.refuse(missing.to_string()).into());
            }
        }
        if self.outputs.iter().any(|spec| matches!(spec.tracks.video, Some(Stream::H264 | Stream::Rendition(_)))) {
            self.encoder.resolve()?;
        }
        self.check_templates()?;
        let codecs: Vec<_> = self.codecs.iter().copied().filter(|codec| media::can_decode(*codec)).collect();
        for kind in [crate::terms::MediaKind::Audio, crate::terms::MediaKind::Video] {
            if !codecs.iter().any(|codec| codec.kind() == kind) {
                return Err(BridgeError::Config(format!(
                    "this GStreamer can decode none of the {kind} codecs asked for: `roomcast doctor` says what to install"
                )));
            }
        }
        for spec in &self.outputs {
            spec.check_heights(height)?;
        }
        // Last, because it makes directories: a run that is refused leaves nothing behind.
        for spec in &self.outputs {
            spec.check()?;
        }
        Ok(codecs)
    }

    /// Builds every pipeline that is going to be needed once, without playing it: what an operator's own template lacks is known
    /// before the room is joined.
    fn check_templates(&self) -> Result<(), BridgeError> {
        for spec in &self.outputs {
            for template in spec.templates() {
                template::try_build(template).map_err(|error| spec.refuse(error.to_string()))?;
            }
        }
        for stream in self.outputs.iter().flat_map(OutputSpec::streams).collect::<BTreeSet<_>>() {
            match stream {
                Stream::H264 => template::try_build(&format!("encode-{}", self.encoder.resolve()?.name))?,
                Stream::Rendition(_) => {
                    template::try_build("scale")?;
                    template::try_build(&format!("encode-{}", self.encoder.resolve()?.name))?;
                }
                Stream::Pcmu => template::try_build("encode-pcmu")?,
                Stream::Vp8 => template::try_build("encode-vp8")?,
                Stream::Aac => template::try_build(aac_template())?,
                Stream::Opus => template::try_build("encode-opus")?,
                Stream::CopiedVideo
                | Stream::CopiedAudio
                | Stream::VideoPackets
                | Stream::AudioPackets
                | Stream::Pictures
                | Stream::Pcm => {}
            }
        }
        Ok(())
    }

    pub(crate) fn encoder_settings(&self) -> EncoderSettings {
        // Between 1 and 7200 by the checks above.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
        let frames = |seconds: f64| (seconds * f64::from(self.canvas.fps)).round().max(1.0) as u32;
        // HLS asks for a keyframe where a segment ends. The encoder's own one comes a little later, or a segment of one
        // picture would stand between the two.
        let asked_for = self.outputs.iter().any(|spec| matches!(spec.destination, Destination::Hls(_)));
        let keyframe_distance = frames(if asked_for { self.gop + KEYFRAME_SLACK } else { self.gop });
        EncoderSettings {
            video_bitrate: self.video_bitrate,
            audio_bitrate: self.audio_bitrate,
            keyframe_distance,
            preset: self.preset.clone(),
        }
    }
}
