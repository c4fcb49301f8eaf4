//! What `-o` says: a URL or a path, read and checked before the room is joined.

mod whip;

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use url::Url;

pub use whip::{WhipDestination, WhipVideo};

/// One output as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSpec {
    text: String,
    /// Where it goes.
    pub destination: Destination,
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
    /// A WHIP endpoint.
    Whip(WhipDestination),
}

/// `rtp://HOST:PORT?sdp=FILE&latency=MS`: video to PORT, sound to PORT+2, RTCP one above each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpDestination {
    /// The receiver's address.
    pub address: IpAddr,
    /// The even port of the video.
    pub port: u16,
    /// Where the SDP file is written.
    pub sdp: Option<PathBuf>,
    /// How long sound and picture are held so that both leave at the same moment of their clock.
    pub latency: Duration,
}

/// `hls:DIR?segment=SECONDS&list=COUNT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HlsDestination {
    /// The directory of `index.m3u8` and the segments.
    pub directory: PathBuf,
    /// A segment's length in seconds.
    pub segment: u32,
    /// Segments in the playlist.
    pub list: u32,
}

/// A recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDestination {
    /// The file.
    pub path: PathBuf,
    /// Its form, from the path's ending.
    pub container: Container,
    /// Whether it takes one participant's streams as they come instead of the mix: WebM only.
    pub copy: bool,
}

/// The form of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Matroska with H.264 and AAC.
    Matroska,
    /// Fragmented MP4 while it is written, a plain seekable MP4 after a clean stop.
    Mp4,
    /// WebM with VP8 and Opus.
    WebM,
}

/// Why an output was refused; the text names the argument and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("output `{output}`: {reason}")]
pub struct SpecError {
    output: String,
    reason: String,
}

const SCHEMES: &str = "rtp://HOST:PORT?sdp=FILE, hls:DIRECTORY, whip+https://HOST/PATH?token=TOKEN, or a file that ends in .mkv, .mp4 or .webm";

impl FromStr for OutputSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let destination = parse(text).map_err(|reason| SpecError { output: shown(text), reason })?;
        let text = match &destination {
            Destination::Whip(whip) => whip.endpoint.to_string(),
            _ => text.to_owned(),
        };
        Ok(Self { text, destination })
    }
}

impl fmt::Display for OutputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
            Destination::Whip(_) => None,
        };
        let Some(directory) = directory else { return Ok(()) };
        std::fs::create_dir_all(directory)
            .and_then(|()| tempfile::tempfile_in(directory).map(drop))
            .map_err(|error| self.refuse(format!("the directory {} cannot be written: {error}", directory.display())))
    }

    /// An error about this output.
    pub fn refuse(&self, reason: impl Into<String>) -> SpecError {
        SpecError { output: self.text.clone(), reason: reason.into() }
    }
}

/// The text as it may be repeated: what is no path and no RTP may have a token in it.
fn shown(text: &str) -> String {
    match text.split_once("://") {
        None | Some(("rtp" | "hls" | "file" | "ts+unix", _)) => text.to_owned(),
        Some(_) => whip::without_secrets(text),
    }
}

fn parse(text: &str) -> Result<Destination, String> {
    if text.contains("{participant}") {
        return Err("one output per participant is not supported yet: leave out {participant}".into());
    }
    match text.split_once(':') {
        Some(("rtp", _)) => rtp(text),
        Some(("hls", rest)) => hls(rest),
        Some(("ts+unix", path)) if !path.is_empty() => Ok(Destination::TsSocket(path.into())),
        Some(("whip+http" | "whip+https", _)) => Ok(Destination::Whip(whip::parse(text)?)),
        Some(("file", rest)) => file(rest.strip_prefix("//").unwrap_or(rest)),
        Some((scheme, rest)) if rest.starts_with("//") => Err(format!("unknown scheme `{scheme}`: use {SCHEMES}")),
        _ => file(text),
    }
}

fn rtp(text: &str) -> Result<Destination, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}: write rtp://HOST:PORT?sdp=FILE"))?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the host is missing: write rtp://HOST:PORT")?;
    let port = url.port().ok_or("the port is missing: write rtp://HOST:PORT with an even port")?;
    if port % 2 == 1 {
        return Err(format!(
            "port {port} is odd: RTP uses even ports and RTCP the odd one above, so try {}",
            port & !1
        ));
    }
    if !(2..=65_532).contains(&port) {
        return Err(format!("port {port} leaves no room: video, sound and RTCP use four ports from it"));
    }
    let address = (host.trim_matches(['[', ']']), port)
        .to_socket_addrs()
        .map_err(|error| format!("the host `{host}` cannot be found: {error}"))?
        .next()
        .ok_or_else(|| format!("the host `{host}` has no address"))?
        .ip();
    let (mut sdp, mut latency) = (None, Duration::from_millis(120));
    for (key, value) in url.query_pairs() {
        match &*key {
            "sdp" if !value.is_empty() => sdp = Some(PathBuf::from(&*value)),
            "latency" => latency = Duration::from_millis(number(&key, &value, 0..=5_000)?.into()),
            _ => return Err(unknown_setting(&key, "sdp=FILE, latency=MS")),
        }
    }
    Ok(Destination::Rtp(RtpDestination { address, port, sdp, latency }))
}

fn hls(rest: &str) -> Result<Destination, String> {
    let (directory, query) = split_query(rest);
    if directory.is_empty() {
        return Err("the directory is missing: write hls:DIRECTORY".into());
    }
    let mut hls = HlsDestination { directory: directory.into(), segment: 2, list: 6 };
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "segment" => hls.segment = number(&key, &value, 1..=60)?,
            "list" => hls.list = number(&key, &value, 3..=10_000)?,
            _ => return Err(unknown_setting(&key, "segment=SECONDS, list=COUNT")),
        }
    }
    Ok(Destination::Hls(hls))
}

fn file(text: &str) -> Result<Destination, String> {
    let (path, query) = split_query(text);
    let path = PathBuf::from(path);
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    let container = match ending.as_deref() {
        Some("mkv") => Container::Matroska,
        Some("mp4") => Container::Mp4,
        Some("webm") => Container::WebM,
        _ => return Err(format!("what this should be is not clear: use {SCHEMES}")),
    };
    let mut copied = (false, false);
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match (&*key, &*value, container) {
            ("video", "copy", Container::WebM) => copied.0 = true,
            ("audio", "copy", Container::WebM) => copied.1 = true,
            ("video" | "audio", "copy", _) => {
                return Err("only a .webm takes a participant's VP8 and Opus as they come".into());
            }
            ("video" | "audio", value, _) => {
                return Err(format!("{key}={value} is not supported: leave it out, or use copy"));
            }
            _ => return Err(unknown_setting(&key, "video=copy&audio=copy, for .webm")),
        }
    }
    if copied.0 != copied.1 {
        return Err("video and audio are copied together: write video=copy&audio=copy".into());
    }
    Ok(Destination::File(FileDestination { path, container, copy: copied.0 }))
}

/// A path may contain `?`; only what looks like settings after the last one is taken for them.
fn split_query(text: &str) -> (&str, &str) {
    match text.rsplit_once('?') {
        Some((path, query)) if query.contains('=') => (path, query),
        _ => (text, ""),
    }
}

fn number(key: &str, value: &str, range: std::ops::RangeInclusive<u32>) -> Result<u32, String> {
    value
        .parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("{key}={value} is not a whole number from {} to {}", range.start(), range.end()))
}

fn unknown_setting(key: &str, known: &str) -> String {
    format!("unknown setting `{key}`: this output has {known}")
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests {
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
            assert_eq!((file.container, file.copy), (container, false), "{text}");
        }
        let Destination::File(file) = destination("x?y.webm?video=copy&audio=copy") else { panic!() };
        assert_eq!((file.path.as_path(), file.copy), (Path::new("x?y.webm"), true));
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
            ("{participant}.mkv", "{participant}"),
            ("a.mkv?video=copy&audio=copy", "only a .webm"),
            ("a.webm?video=copy", "together"),
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
