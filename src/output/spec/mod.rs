//! What `-o` says: a URL or a path, read and checked before the room is joined.

mod file;
mod hls;
mod participant;
mod redaction;
mod rtp;
mod settings;
mod tracks;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use file::{Container, FileDestination};
pub use hls::HlsDestination;
use participant::Scope;
pub use rtp::RtpDestination;
pub use tracks::{Stream, Tracks};

/// One output as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSpec {
    text: String,
    shown: String,
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
    Rtp(RtpDestination),
    /// A directory with an HLS playlist.
    Hls(HlsDestination),
    /// A recording.
    File(FileDestination),
    /// MPEG-TS to everybody who connects to a Unix socket; `serve` passes it on over HTTP.
    TsSocket(PathBuf),
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

const SCHEMES: &str = "rtp://HOST:PORT?sdp=FILE, hls:DIRECTORY, or a file that ends in .mkv, .mp4 or .webm";

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
    let shown = redaction::redact(text);
    let parsed = parse(text).map(|(destination, encoded)| {
        let tracks = if scope == Scope::Room { encoded } else { participant::copying(text, encoded) };
        OutputSpec { text: text.to_owned(), shown: shown.clone(), scope, destination, tracks, encoded }
    });
    match parsed {
        Ok(spec) => Ok(spec),
        Err(reason) => Err(SpecError { output: shown, reason }),
    }
}

/// As it was asked for, without its secrets: its name in events.
impl fmt::Display for OutputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
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
            Destination::File(file) => Some(parent(&file.path)),
            Destination::TsSocket(path) => Some(parent(path)),
        };
        let Some(directory) = directory else { return Ok(()) };
        let directory = if self.is_pattern() { participant::fixed(directory) } else { directory };
        std::fs::create_dir_all(directory)
            .and_then(|()| tempfile::tempfile_in(directory).map(drop))
            .map_err(|error| self.refuse(format!("the directory {} cannot be written: {error}", directory.display())))
    }

    /// Whether it is called so: as it was asked for, or as it is shown.
    pub fn is_called(&self, name: &str) -> bool {
        self.text == name || self.shown == name
    }

    /// An error about this output.
    pub fn refuse(&self, reason: impl Into<String>) -> SpecError {
        SpecError { output: self.shown.clone(), reason: reason.into() }
    }
}

fn parse(text: &str) -> Parsed {
    match text.split_once(':') {
        Some(("rtp", _)) => rtp::parse(text),
        Some(("hls", rest)) => hls::parse(rest),
        Some(("ts+unix", path)) if !path.is_empty() => {
            Ok((Destination::TsSocket(path.into()), Tracks::both(Stream::H264, Stream::Aac)))
        }
        Some(("file", rest)) => file::parse(rest.strip_prefix("//").unwrap_or(rest)),
        Some((scheme, rest)) if rest.starts_with("//") => Err(format!("unknown scheme `{scheme}`: use {SCHEMES}")),
        _ => file::parse(text),
    }
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
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
