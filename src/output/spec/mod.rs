//! What `-o` says: a URL or a path, read and checked before the room is joined.

mod file;
mod hls;
mod participant;
mod redaction;
mod rtmp;
mod rtp;
mod rtsp;
mod secret;
mod settings;
mod srt;
mod tracks;
mod ts_udp;
mod whip;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::names;
use participant::Scope;
use redaction::Secrets;

pub(crate) use crate::durable::parent;
pub use file::{Container, FileDestination, Split, Thumbs};
pub use hls::{HlsDestination, HlsFormat, HlsMode, Renditions};
pub use rtmp::RtmpDestination;
pub use rtp::RtpDestination;
pub(crate) use rtsp::local;
pub use rtsp::{Credentials, RtspPushDestination, RtspServeDestination, RtspTransport};
pub use secret::Secret;
pub use srt::{SrtDestination, SrtEnd};
pub use tracks::{Height, Stream, Tracks};
pub use ts_udp::TsUdpDestination;
pub use whip::WhipDestination;

/// One output as asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct OutputSpec {
    text: String,
    shown: String,
    secrets: Secrets,
    scope: Scope,
    /// Where it goes.
    pub destination: Destination,
    /// What it takes.
    pub tracks: Tracks,
    /// What it takes instead where it copies only because nothing else was asked for.
    encoded: Tracks,
}

/// Where an output goes, with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// RTP to one receiver.
    Rtp(Box<RtpDestination>),
    /// A directory with an HLS playlist.
    Hls(HlsDestination),
    /// A recording.
    File(FileDestination),
    /// MPEG-TS to everybody who connects to a Unix socket; `serve` passes it on over HTTP.
    TsSocket(PathBuf),
    /// A WHIP endpoint.
    Whip(WhipDestination),
    /// MPEG-TS over UDP.
    TsUdp(TsUdpDestination),
    /// MPEG-TS over SRT.
    Srt(SrtDestination),
    /// FLV to an RTMP server.
    Rtmp(RtmpDestination),
    /// Players that connect by RTSP.
    RtspServe(RtspServeDestination),
    /// A media server that takes RTSP.
    RtspPush(RtspPushDestination),
}

/// What the parser of one kind of output gives.
type Parsed = Result<(Destination, Tracks), String>;

/// Why an output was refused; the text names the argument and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("output `{output}`: {reason}")]
pub struct SpecError {
    output: String,
    reason: String,
}

const SCHEMES: &str = "rtp://HOST:PORT?sdp=FILE, rtsp://HOST/PATH, rtsp://:PORT/NAME?mode=serve, ts+udp://HOST:PORT, \
                       srt://HOST:PORT, rtmp://HOST/APP/KEY, whip+https://HOST/PATH?token=TOKEN, hls:DIRECTORY, or a file \
                       that ends in .mkv, .mp4, .webm, .m4a, .ogg, .opus or .wav";

impl FromStr for OutputSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        read(text, Scope::of(text))
    }
}

/// One participant's output: a participant may well be called `{participant}`.
fn parse_instance(text: &str) -> Result<OutputSpec, SpecError> {
    read(text, Scope::Participant)
}

fn read(text: &str, scope: Scope) -> Result<OutputSpec, SpecError> {
    let (shown, secrets) = redaction::redact(text);
    match parse(text) {
        Ok((destination, encoded)) => {
            let tracks = if scope == Scope::Room { encoded } else { participant::copying(text, encoded) };
            Ok(OutputSpec { text: text.to_owned(), shown, secrets, scope, destination, tracks, encoded })
        }
        Err(reason) => Err(SpecError { output: shown, reason: secrets.scrub(reason) }),
    }
}

/// An output's text without its secrets, whether there is such an output or not.
pub fn shown(text: &str) -> String {
    redaction::redact(text).0
}

/// As it was asked for, without its secrets: its name in events.
impl fmt::Display for OutputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// As it is shown to people: what it was asked for by may have a secret in it.
impl fmt::Debug for OutputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutputSpec({self})")
    }
}

impl OutputSpec {
    /// Looks at the file system: whether what this output writes can be written. Creates missing directories.
    pub fn check(&self) -> Result<(), SpecError> {
        let directory = match &self.destination {
            Destination::Rtp(rtp) => rtp.sdp.as_deref().map(parent),
            Destination::Hls(hls) => Some(hls.directory.as_path()),
            Destination::File(file) if file.path.is_dir() => {
                return Err(self.refuse(format!("{} is a directory", file.path.display())));
            }
            Destination::File(file) => Some(known_parent(&file.path)),
            Destination::TsSocket(path) => Some(parent(path)),
            Destination::Whip(_) => None,
            Destination::TsUdp(ts) => return ts.check().map_err(|reason| self.refuse(reason)),
            Destination::Srt(_) | Destination::Rtmp(_) => None,
            Destination::RtspServe(rtsp) => return rtsp.check().map_err(|reason| self.refuse(reason)),
            Destination::RtspPush(_) => None,
        };
        let Some(directory) = directory else { return Ok(()) };
        let directory = if self.is_pattern() { participant::fixed(directory) } else { directory };
        std::fs::create_dir_all(directory)
            .and_then(|()| tempfile::tempfile_in(directory).map(drop))
            .map_err(|error| self.refuse(format!("the directory {} cannot be written: {error}", directory.display())))
    }

    /// What somebody else said about it, without the secrets.
    pub(crate) fn scrub(&self, text: impl ToString) -> String {
        self.secrets.scrub(text.to_string())
    }

    /// Every stream that it needs, whether it carries it or makes something of it.
    pub fn streams(&self) -> impl Iterator<Item = Stream> {
        let thumbs = matches!(&self.destination, Destination::File(file) if file.thumbs.is_some());
        self.tracks.iter().chain(self.lower().iter().copied()).chain(thumbs.then_some(Stream::Pictures))
    }

    /// The same picture in smaller sizes.
    pub(crate) fn lower(&self) -> &[Stream] {
        match &self.destination {
            Destination::Hls(HlsDestination { renditions: Some(renditions), .. }) => &renditions.lower,
            _ => &[],
        }
    }

    /// Refuses renditions that are larger than the picture that is mixed.
    ///
    /// # Errors
    /// The height of the picture is less than that of a rendition.
    pub fn check_heights(&self, canvas: i32) -> Result<(), SpecError> {
        let Destination::Hls(hls) = &self.destination else { return Ok(()) };
        match hls.heights(self.tracks).find(|height| i32::from(height.0) > canvas) {
            Some(Height(height)) => Err(self.refuse(format!(
                "the rendition {height}p is larger than the picture of {canvas} lines: leave it out, or choose a larger --size"
            ))),
            None => Ok(()),
        }
    }

    /// Whether participants should better send H.264: it copies their pictures to where VP8 is not understood.
    pub fn prefers_h264(&self) -> bool {
        let takes_any = match &self.destination {
            Destination::Rtp(_) => true,
            Destination::File(file) => matches!(file.container, Container::Matroska | Container::WebM),
            _ => false,
        };
        self.tracks.video.is_some_and(Stream::is_copied) && !takes_any
    }

    /// Whether nobody notices when it gets its media a fifth of a second later: what it writes is looked at in seconds.
    pub fn has_time(&self) -> bool {
        match &self.destination {
            Destination::File(_) => true,
            // A muxer of MPEG-TS does not wait for what is late.
            Destination::Hls(hls) => hls.format == HlsFormat::Fmp4,
            _ => false,
        }
    }

    /// Whether it is called so: as it was asked for, or as it is shown.
    pub fn is_called(&self, name: &str) -> bool {
        self.text == name || self.shown == name
    }

    /// The directory of a recording, above every name that is made while it runs; `None` for what is live.
    pub fn recording_directory(&self) -> Option<&Path> {
        match &self.destination {
            Destination::File(file) => Some(known_parent(&file.path)),
            _ => None,
        }
    }

    /// What it writes to the disk: directories, above every name that is made while it runs.
    pub fn writes(&self) -> Vec<PathBuf> {
        let below = |path: &Path| known_parent(path).to_owned();
        match &self.destination {
            Destination::File(file) => vec![below(&file.path)],
            Destination::Hls(hls) => vec![below(&hls.directory.join("any"))],
            Destination::TsSocket(path) => vec![below(path)],
            Destination::Rtp(rtp) => rtp.sdp.as_deref().map(below).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// An error about this output.
    pub fn refuse(&self, reason: impl Into<String>) -> SpecError {
        SpecError { output: self.shown.clone(), reason: reason.into() }
    }
}

fn parse(text: &str) -> Parsed {
    match text.split_once(':') {
        Some(("rtp", _)) => rtp::parse(text),
        Some(("rtsp", _)) => rtsp::parse(text),
        Some(("hls", rest)) => hls::parse(rest),
        Some(("ts+unix", path)) if !path.is_empty() => {
            Ok((Destination::TsSocket(path.into()), Tracks::both(Stream::H264, Stream::Aac)))
        }
        Some(("whip+http" | "whip+https", _)) => whip::parse(text),
        Some(("ts+udp", _)) => ts_udp::parse(text),
        Some(("srt", _)) => srt::parse(text),
        Some(("rtmp", rest)) if rest.starts_with("//") => rtmp::parse(text, false),
        Some(("rtmps", rest)) if rest.starts_with("//") => rtmp::parse(text, true),
        Some(("file", rest)) => file::parse(rest.strip_prefix("//").unwrap_or(rest)),
        Some((scheme, rest)) if rest.starts_with("//") => Err(format!("unknown scheme `{scheme}`: use {SCHEMES}")),
        _ => file::parse(text),
    }
}

/// The directory of a file; the last one above a name that is not known before the room is joined.
fn known_parent(path: &Path) -> &Path {
    let is_known = |directory: &&Path| names::keys(&directory.to_string_lossy()).is_empty();
    path.ancestors().map(parent).find(is_known).unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn destination(text: &str) -> Destination {
        text.parse::<OutputSpec>().unwrap().destination
    }

    fn reason(text: &str) -> String {
        text.parse::<OutputSpec>().unwrap_err().to_string()
    }

    #[test]
    fn rtp_takes_host_port_sdp_and_latency() {
        let Destination::Rtp(rtp) = destination("rtp://127.0.0.1:5004?sdp=a/call.sdp&latency=0") else { panic!() };
        assert_eq!((rtp.address, rtp.port), ("127.0.0.1".parse().unwrap(), 5004));
        assert_eq!(rtp.sdp.unwrap(), Path::new("a/call.sdp"));
        assert_eq!(rtp.latency, Duration::ZERO);
        let Destination::Rtp(rtp) = destination("rtp://[::1]:5004") else { panic!() };
        assert_eq!((rtp.address, rtp.latency), ("::1".parse().unwrap(), Duration::from_millis(120)));
    }

    #[test]
    fn hls_and_files_are_paths() {
        let Destination::Hls(hls) = destination("hls:www") else { panic!() };
        assert_eq!((hls.directory.as_path(), hls.segment, hls.list), (Path::new("www"), 2, 6));
        let Destination::Hls(hls) = destination("hls:/srv/a b?segment=4&list=10") else { panic!() };
        assert_eq!((hls.directory.as_path(), hls.segment, hls.list), (Path::new("/srv/a b"), 4, 10));
        for (text, container) in [
            ("call.mkv", Container::Matroska),
            ("file:/x/call.MP4", Container::Mp4),
            ("file:///x/call.webm", Container::WebM),
            ("12:30.mkv", Container::Matroska),
        ] {
            let Destination::File(file) = destination(text) else { panic!("{text}") };
            assert_eq!(file.container, container, "{text}");
        }
        let Destination::File(file) = destination("x?y.webm?video=copy&audio=copy") else { panic!() };
        assert_eq!(file.path, Path::new("x?y.webm"));
    }

    #[test]
    fn each_end_takes_the_mix_a_copy_or_nothing() {
        let tracks = |text: &str| text.parse::<OutputSpec>().unwrap().tracks;
        assert_eq!(tracks("a.mkv"), Tracks::both(Stream::H264, Stream::Aac));
        assert_eq!(tracks("a.webm"), Tracks::both(Stream::Vp8, Stream::Opus));
        assert_eq!(tracks("a.mp4?video=copy"), Tracks::both(Stream::CopiedVideo, Stream::Aac));
        assert_eq!(tracks("a.mkv?video=none"), Tracks { video: None, audio: Some(Stream::Aac) });
    }

    #[test]
    fn the_disk_of_a_recording_is_known_before_its_directories_are() {
        let directory = |text: &str| text.parse::<OutputSpec>().unwrap().recording_directory().map(Path::to_owned);
        assert_eq!(directory("/srv/rec/{room}/{time}.mkv?split=10m"), Some("/srv/rec".into()));
        assert_eq!(directory("/srv/rec/call.mkv"), Some("/srv/rec".into()));
        assert_eq!(directory("call.mkv"), Some(".".into()));
        assert_eq!(directory("hls:/srv/www"), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_the_way_out() {
        for (text, expected) in [
            ("ftp://x/y.mkv", "unknown scheme `ftp`"),
            ("rtp://127.0.0.1:5005", "port 5005 is odd"),
            ("rtp://127.0.0.1:5005", "try 5004"),
            ("rtp://127.0.0.1", "port is missing"),
            ("rtp://127.0.0.1:99999", "invalid port"),
            ("rtp://127.0.0.1:65534", "four ports"),
            ("rtp://127.0.0.1:5004?sdpp=x", "unknown setting `sdpp`"),
            ("rtp://127.0.0.1:5004?latency=-1", "latency=-1"),
            ("rtp://nowhere.invalid:5004", "nowhere.invalid"),
            ("hls:", "directory is missing"),
            ("hls:x?segment=0", "from 1 to 60"),
            ("call.avi", "not clear"),
            ("", "not clear"),
            ("a.mkv?video=none&audio=none", "neither video nor audio"),
            ("a.webm?audio=aac", "audio=aac is not supported: use opus, copy, none"),
            ("a.webm?video=h264&audio=copy", "video=h264 is not supported"),
            ("a.webm?speed=1", "unknown setting `speed`"),
        ] {
            let reason = reason(text);
            assert!(reason.contains(expected), "{text}: {reason}");
            assert!(reason.starts_with(&format!("output `{text}`")), "{reason}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_refused_before_anything_starts() {
        let spec: OutputSpec = "hls:/proc/nothing/here".parse().unwrap();
        let error = spec.check().unwrap_err().to_string();
        assert!(error.contains("/proc/nothing/here") && error.contains("cannot be written"), "{error}");
        let directory = tempfile::tempdir().unwrap();
        let taken = directory.path().join("x.mkv");
        std::fs::create_dir(&taken).unwrap();
        let spec: OutputSpec = taken.to_str().unwrap().parse().unwrap();
        assert!(spec.check().unwrap_err().to_string().contains("is a directory"));
    }

    #[test]
    fn missing_directories_are_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/call.mkv");
        path.to_str().unwrap().parse::<OutputSpec>().unwrap().check().unwrap();
        assert!(path.parent().unwrap().is_dir());
    }
}
