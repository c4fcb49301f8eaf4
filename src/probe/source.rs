//! What can be probed, and how it is reached: a path, a URL, or the text of an SDP.
//!
//! Resolving a source may read a small file or fetch a small document; media itself is only opened by [`super::pipeline`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::ProbeError;

/// An SDP larger than this is not one.
const LARGEST_SDP: usize = 256 * 1024;
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// URLs that GStreamer opens itself.
const SCHEMES: [&str; 9] = ["http", "https", "udp", "rtsp", "rtsps", "rtspt", "rtspu", "srt", "rtmp"];

/// Something to decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The text of a session description (RFC 8866).
    Sdp(String),
    /// A URL: `http`, `https`, `udp`, `rtsp`, `srt`, or `unix:/path` for a stream socket that carries MPEG-TS.
    Uri(String),
    /// A file: media, an SDP (`.sdp`) or an HLS playlist (`.m3u8`).
    File(PathBuf),
}

impl FromStr for Source {
    type Err = ProbeError;

    fn from_str(text: &str) -> Result<Self, ProbeError> {
        if text.starts_with("v=0") {
            return Ok(Self::Sdp(text.to_owned()));
        }
        if let Some(path) = text.strip_prefix("sdp://") {
            return Ok(Self::File(path.into()));
        }
        if text.starts_with("unix:") {
            return Ok(Self::Uri(text.to_owned()));
        }
        // A single letter before the colon, or no `//`, is a file name with a colon in it.
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Self::File(text.into()));
        };
        match scheme {
            "file" => {
                let path = Url::parse(text).ok().and_then(|url| url.to_file_path().ok());
                path.map(Self::File).ok_or_else(|| ProbeError::BadSource {
                    source_text: text.to_owned(),
                    reason: "a file URL needs an absolute path: file:///path".into(),
                })
            }
            scheme if SCHEMES.contains(&scheme) => match Url::parse(text) {
                Ok(_) => Ok(Self::Uri(text.to_owned())),
                Err(error) => Err(ProbeError::BadSource { source_text: text.to_owned(), reason: error.to_string() }),
            },
            other => Err(ProbeError::BadSource {
                source_text: text.to_owned(),
                reason: format!("the scheme {other} is unknown; known are file, unix, sdp, {}", SCHEMES.join(", ")),
            }),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A whole SDP holds keys and addresses, and is no name.
            Self::Sdp(_) => f.write_str("an SDP"),
            Self::Uri(uri) => f.write_str(uri),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// A source as the pipeline opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// The text of an SDP: RTP comes to its ports.
    Sdp(String),
    /// Opened by GStreamer.
    Uri(String),
    /// A stream socket that gives MPEG-TS to whoever connects.
    Unix(PathBuf),
}

impl Source {
    /// Reads or fetches what must be known before a pipeline can be built.
    pub(super) async fn resolve(&self) -> Result<Input, ProbeError> {
        match self {
            Self::Sdp(text) => Ok(Input::Sdp(text.clone())),
            Self::File(path) => resolve_file(path).await,
            Self::Uri(uri) => match uri.strip_prefix("unix:") {
                Some(path) => Ok(Input::Unix(path.trim_start_matches("//").into())),
                None => resolve_uri(uri).await,
            },
        }
    }

    /// Whether it grows or goes on for ever, so that a probe has to choose an end.
    pub(super) fn is_endless(&self) -> bool {
        match self {
            Self::Sdp(_) | Self::Uri(_) => true,
            Self::File(path) => has_suffix(path, "sdp"),
        }
    }
}

async fn resolve_file(path: &Path) -> Result<Input, ProbeError> {
    let io = |error| ProbeError::File { path: path.to_owned(), error };
    let metadata = tokio::fs::metadata(path).await.map_err(io)?;
    if metadata.is_dir() {
        let playlist = path.join("index.m3u8");
        let hint = if playlist.exists() { "; its playlist is index.m3u8" } else { "" };
        return Err(ProbeError::BadSource {
            source_text: path.display().to_string(),
            reason: format!("it is a directory{hint}"),
        });
    }
    if has_suffix(path, "sdp") {
        if metadata.len() > LARGEST_SDP as u64 {
            return Err(ProbeError::BadSdp { reason: format!("{} is larger than 256 KiB", path.display()) });
        }
        return tokio::fs::read_to_string(path).await.map(Input::Sdp).map_err(io);
    }
    let absolute = tokio::fs::canonicalize(path).await.map_err(io)?;
    match Url::from_file_path(&absolute) {
        Ok(url) => Ok(Input::Uri(url.into())),
        Err(()) => Err(ProbeError::BadSource {
            source_text: path.display().to_string(),
            reason: "its path cannot be written as a URL".into(),
        }),
    }
}

/// An SDP over HTTP is fetched here, because GStreamer's own HTTP source would not hand it to the RTP receiver.
async fn resolve_uri(uri: &str) -> Result<Input, ProbeError> {
    let is_sdp = Url::parse(uri).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && Path::new(url.path()).extension().is_some_and(|end| end == "sdp")
    });
    if !is_sdp {
        return Ok(Input::Uri(uri.to_owned()));
    }
    let fetch = |error| ProbeError::Fetch { url: uri.to_owned(), error };
    // Somebody else may have chosen the provider of the process already: then theirs is used.
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest::Client::builder().timeout(FETCH_TIMEOUT).build().map_err(fetch)?;
    let mut response = client.get(uri).send().await.and_then(reqwest::Response::error_for_status).map_err(fetch)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(fetch)? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_SDP {
            return Err(ProbeError::BadSdp { reason: format!("{uri} is larger than 256 KiB") });
        }
    }
    match String::from_utf8(body) {
        Ok(text) => Ok(Input::Sdp(text)),
        Err(_) => Err(ProbeError::BadSdp { reason: format!("{uri} is not text") }),
    }
}

fn has_suffix(path: &Path, suffix: &str) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_urls_and_sdp_text_are_told_apart() {
        let cases = [
            ("call.mkv", Source::File("call.mkv".into())),
            ("www/index.m3u8", Source::File("www/index.m3u8".into())),
            ("/tmp/a:b.ts", Source::File("/tmp/a:b.ts".into())),
            ("file:///tmp/a%20b.mp4", Source::File("/tmp/a b.mp4".into())),
            ("sdp:///tmp/call.sdp", Source::File("/tmp/call.sdp".into())),
            ("http://host/live.ts", Source::Uri("http://host/live.ts".into())),
            ("udp://127.0.0.1:5004", Source::Uri("udp://127.0.0.1:5004".into())),
            ("rtsp://host/cam", Source::Uri("rtsp://host/cam".into())),
            ("unix:/run/live.ts", Source::Uri("unix:/run/live.ts".into())),
            ("v=0\r\no=- 1 1 IN IP4 127.0.0.1", Source::Sdp("v=0\r\no=- 1 1 IN IP4 127.0.0.1".into())),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Source>().unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_source_that_cannot_be_opened_is_refused_with_the_way_out() {
        for (text, expected) in [
            ("gopher://host/x", "the scheme gopher is unknown; known are file, unix, sdp, http"),
            ("http://:80/x", "empty host"),
            ("file://relative", "a file URL needs an absolute path"),
        ] {
            let error = text.parse::<Source>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_named() {
        let error = Source::File("no/such/call.mkv".into()).resolve().await.unwrap_err();
        assert!(error.to_string().starts_with("no/such/call.mkv: "), "{error}");
    }
}
