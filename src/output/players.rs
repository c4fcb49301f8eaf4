//! The exact commands with which each player plays an output, as they were seen to work.

use std::net::SocketAddr;
use std::path::Path;

use serde::Serialize;

/// How to play one output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Play {
    /// What to open.
    pub url: String,
    /// The ffplay command.
    pub ffplay: String,
    /// The command for VLC as Debian ships it (no live555).
    pub vlc: String,
    /// The command for VLC as VideoLAN ships it.
    pub vlc_videolan: String,
    /// The GStreamer command.
    pub gst: String,
}

impl Play {
    /// An SDP file with RTP from an address and port.
    pub(crate) fn sdp_file(path: &Path) -> Self {
        let (shown, absolute) = (quote(path), absolute(path));
        Self {
            url: absolute.clone(),
            ffplay: format!("ffplay -protocol_whitelist file,rtp,udp {shown}"),
            vlc: format!("vlc --demux avformat --avformat-options '{{protocol_whitelist=\"file,udp,rtp\"}}' {shown}"),
            vlc_videolan: format!("vlc {shown}"),
            gst: format!("gst-play-1.0 {}", quote(Path::new(&format!("sdp://{absolute}")))),
        }
    }

    /// A playlist or a recording.
    pub(crate) fn file(path: &Path) -> Self {
        let shown = quote(path);
        Self {
            url: absolute(path),
            ffplay: format!("ffplay {shown}"),
            vlc: format!("vlc {shown}"),
            vlc_videolan: format!("vlc {shown}"),
            gst: format!("gst-play-1.0 {shown}"),
        }
    }

    /// MPEG-TS in datagrams, to be opened on the host that they are sent to.
    pub(crate) fn datagrams(address: SocketAddr) -> Self {
        let port = address.port();
        let (group, any) = match address {
            _ if address.ip().is_multicast() => (format!("udp://@{address}"), format!("udp://{address}")),
            SocketAddr::V4(_) => (format!("udp://@:{port}"), format!("udp://0.0.0.0:{port}")),
            SocketAddr::V6(_) => (format!("udp://@[::]:{port}"), format!("udp://[::]:{port}")),
        };
        Self { ffplay: format!("ffplay {any}"), gst: format!("gst-play-1.0 {any}"), ..Self::url(&group) }
    }

    /// An SRT listener. Its passphrase is not for everybody who sees this. VLC as Debian ships it needs the package
    /// vlc-plugin-access-extra.
    pub(crate) fn srt(url: &str, is_secret: bool) -> Self {
        Self::url(&if is_secret { format!("{url}?passphrase=PASSPHRASE") } else { url.to_owned() })
    }

    /// RTSP, which VLC plays only with live555 or in the form of an SDP.
    pub(crate) fn rtsp(url: &str) -> Self {
        Self { vlc: String::new(), ..Self::url(url) }
    }

    /// Something that any player opens by its URL.
    pub fn url(url: &str) -> Self {
        let shown = quote(Path::new(url));
        Self {
            url: url.to_owned(),
            ffplay: format!("ffplay {shown}"),
            vlc: format!("vlc {shown}"),
            vlc_videolan: format!("vlc {shown}"),
            gst: format!("gst-play-1.0 {shown}"),
        }
    }
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}

/// Quotes a word for the shell when it needs it.
fn quote(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-:=+,@%".contains(character);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sdp_file_has_the_flags_that_each_player_needs() {
        let play = Play::sdp_file(Path::new("/tmp/call.sdp"));
        assert_eq!(play.ffplay, "ffplay -protocol_whitelist file,rtp,udp /tmp/call.sdp");
        assert_eq!(
            play.vlc,
            r#"vlc --demux avformat --avformat-options '{protocol_whitelist="file,udp,rtp"}' /tmp/call.sdp"#
        );
        assert_eq!(play.gst, "gst-play-1.0 sdp:///tmp/call.sdp");
    }

    #[test]
    fn datagrams_are_opened_by_their_port_and_groups_by_their_address() {
        let host = Play::datagrams("192.0.2.7:5000".parse().unwrap());
        assert_eq!((host.vlc.as_str(), host.ffplay.as_str()), ("vlc udp://@:5000", "ffplay udp://0.0.0.0:5000"));
        let group = Play::datagrams("239.1.2.3:5000".parse().unwrap());
        assert_eq!(
            (group.vlc.as_str(), group.gst.as_str()),
            ("vlc udp://@239.1.2.3:5000", "gst-play-1.0 udp://239.1.2.3:5000")
        );
    }

    #[test]
    fn a_path_with_spaces_and_quotes_can_be_pasted() {
        assert_eq!(Play::file(Path::new("it's a call.mkv")).ffplay, r"ffplay 'it'\''s a call.mkv'");
    }
}
