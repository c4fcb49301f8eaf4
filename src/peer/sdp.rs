//! The few facts of a session description (RFC 8866) that the connection itself needs.
//!
//! The webrtc crate parses descriptions for real; this reads what it does not tell us, and refuses what it should never
//! see. Any text is accepted and none panics.

use super::error::PeerError;
use crate::terms::{Codec, IceCandidate, MediaKind, PayloadType};

/// The largest description that is read at all; browsers with many tracks stay far below it.
const MAX_BYTES: usize = 256 * 1024;

/// A call has a handful of m-lines; each costs the connection memory and time.
const MAX_SECTIONS: usize = 128;

/// One `m=` section, audio or video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) kind: MediaKind,
    pub(crate) mid: String,
    /// Whether the description's author sends media in this section.
    pub(crate) sends: bool,
    /// Whether the author takes no part in this section (RFC 3264, section 6): nothing may be sent there.
    pub(crate) rejected: bool,
}

/// Refuses descriptions that are too large, or have no or too many m-lines.
pub(crate) fn check(sdp: &str) -> Result<(), PeerError> {
    if sdp.len() > MAX_BYTES {
        return Err(PeerError::DescriptionTooLarge { bytes: sdp.len(), limit: MAX_BYTES });
    }
    match sdp.lines().filter(|line| line.starts_with("m=")).count() {
        0 => Err(PeerError::NoMedia),
        sections if sections > MAX_SECTIONS => Err(PeerError::TooManySections { sections, limit: MAX_SECTIONS }),
        _ => Ok(()),
    }
}

/// The audio and video sections, without those that have no mid.
pub(crate) fn sections(sdp: &str) -> Vec<Section> {
    let mut session_sends = true;
    let mut sections: Vec<Option<Section>> = Vec::new();
    let mut rejected: Vec<bool> = Vec::new();
    for line in sdp.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            let mut words = media.split(' ');
            let kind = match words.next() {
                Some("audio") => Some(MediaKind::Audio),
                Some("video") => Some(MediaKind::Video),
                _ => None,
            };
            rejected.push(words.next() == Some("0"));
            sections.push(kind.map(|kind| Section { kind, mid: String::new(), sends: session_sends, rejected: false }));
            continue;
        }
        // It has no port of its own because it shares that of its group (RFC 9143, section 6).
        if let ("a=bundle-only", Some(rejected)) = (line, rejected.last_mut()) {
            *rejected = false;
        }
        let sends = match line {
            "a=sendrecv" | "a=sendonly" => Some(true),
            "a=recvonly" | "a=inactive" => Some(false),
            _ => None,
        };
        match (sections.last_mut(), sends) {
            (None, Some(sends)) => session_sends = sends,
            (Some(Some(section)), Some(sends)) => section.sends = sends,
            (Some(Some(section)), None) => {
                if let Some(mid) = line.strip_prefix("a=mid:") {
                    mid.clone_into(&mut section.mid);
                }
            }
            _ => {}
        }
    }
    let sections = sections.into_iter().zip(rejected).filter_map(|(section, rejected)| {
        section.map(|section| Section { sends: section.sends && !rejected, rejected, ..section })
    });
    sections.filter(|section| !section.mid.is_empty()).collect()
}

/// Whether an answer's author opens DTLS (RFC 8842, section 5.3).
pub(crate) fn opens_dtls(answer: &str) -> bool {
    answer.lines().any(|line| line.trim_end() == "a=setup:active")
}

/// The same answer of somebody who waits for the other side to open DTLS.
pub(crate) fn as_dtls_server(answer: &str) -> String {
    let lines = answer.split_inclusive('\n').map(|line| match line.strip_prefix("a=setup:active") {
        Some(end) if end.trim_end().is_empty() => ["a=setup:passive", end],
        _ => [line, ""],
    });
    lines.flatten().collect()
}

/// The candidates on which the description's author takes TCP connections (RFC 6544), as if they had come one by one.
pub(crate) fn tcp_candidates(sdp: &str) -> Vec<IceCandidate> {
    let mut index = None;
    let mut found = Vec::new();
    for line in sdp.lines().map(str::trim_end) {
        if line.starts_with("m=") {
            index = Some(index.map_or(0, |index: u16| index.saturating_add(1)));
        } else if let Some(candidate) = line.strip_prefix("a=").filter(|value| value.starts_with("candidate:")) {
            let mut words = candidate.split(' ');
            let is_tcp = words.nth(2).is_some_and(|transport| transport.eq_ignore_ascii_case("tcp"));
            if is_tcp && words.any(|word| word == "passive") && found.len() < MAX_SECTIONS {
                let candidate = candidate.to_owned();
                found.push(IceCandidate { candidate, sdp_m_line_index: index, ..IceCandidate::default() });
            }
        }
    }
    found
}

/// Which codec each payload type means, of the codecs that we know.
pub(crate) fn payload_types(sdp: &str) -> Vec<(PayloadType, Codec)> {
    sdp.lines()
        .filter_map(|line| {
            let (number, encoding) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
            let codec = Codec::from_encoding_name(encoding.split('/').next()?)?;
            Some((PayloadType(number.parse().ok().filter(|number| *number < 128)?), codec))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_tell_who_sends() {
        let cases: [(&str, &[(&str, bool)]); 8] = [
            ("v=0\r\nm=audio 9 X 111\r\na=mid:0\r\na=sendonly\r\n", &[("0", true)]),
            ("v=0\r\nm=audio 9 X 111\r\na=mid:0\r\na=recvonly\r\n", &[("0", false)]),
            (
                "v=0\r\nm=audio 9 X 111\r\na=mid:a\r\nm=video 9 X 96\r\na=inactive\r\na=mid:v\r\n",
                &[("a", true), ("v", false)],
            ),
            ("v=0\r\na=inactive\r\nm=audio 9 X 111\r\na=mid:0\r\n", &[("0", false)]),
            ("v=0\r\nm=video 0 X 96\r\na=mid:0\r\na=sendrecv\r\n", &[("0", false)]),
            ("v=0\r\nm=audio 0 X 97\r\na=bundle-only\r\na=sendrecv\r\na=mid:audio1\r\n", &[("audio1", true)]),
            ("v=0\r\nm=application 9 X webrtc-datachannel\r\na=mid:0\r\n", &[]),
            ("m=\r\nm=video\r\na=mid:\r\na=sendonly\nm=audio 9\na=mid:x", &[("x", true)]),
        ];
        for (sdp, expected) in cases {
            let found = sections(sdp);
            let found: Vec<_> = found.iter().map(|section| (section.mid.as_str(), section.sends)).collect();
            assert_eq!(found, expected, "{sdp}");
        }
    }

    #[test]
    fn the_dtls_role_is_read_and_changed() {
        let answer = "v=0\r\nm=audio 9 X 111\r\na=setup:active\r\nm=video 9 X 96\r\na=setup:active\r\n";
        assert!(opens_dtls(answer) && !opens_dtls(&as_dtls_server(answer)));
        assert_eq!(as_dtls_server(answer).matches("a=setup:passive\r\n").count(), 2);
        assert!(!opens_dtls("a=setup:actpass\r\n"));
        // Whatever the line ends are.
        assert_eq!(as_dtls_server("a=setup:active\nx\r\na=setup:active "), "a=setup:passive\nx\r\na=setup:passive ");
    }

    #[test]
    fn tcp_candidates_are_found_with_the_section_they_stand_in() {
        let udp = "a=candidate:1 1 udp 2130706431 192.0.2.1 40000 typ host\r\n";
        let tcp = "a=candidate:2 1 tcp 1675624447 192.0.2.1 40000 typ host tcptype passive\r\n";
        let active = "a=candidate:3 1 TCP 1675624447 192.0.2.1 9 typ host tcptype active\r\n";
        let sdp = format!("v=0\r\nm=audio 9 X 111\r\n{udp}{active}m=video 9 X 96\r\n{tcp}a=candidate:\r\n");
        let found = tcp_candidates(&sdp);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].candidate.as_str(), found[0].sdp_m_line_index), (tcp[2..].trim_end(), Some(1)));
        assert!(tcp_candidates("a=candidate:2 1 tcp").is_empty() && tcp_candidates("").is_empty());
    }

    #[test]
    fn payload_types_name_known_codecs() {
        let sdp = "a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:200 VP9/90000\r\na=rtpmap:\r\na=rtpmap:x y\r\n";
        assert_eq!(payload_types(sdp), [(PayloadType(96), Codec::Vp8), (PayloadType(111), Codec::Opus)]);
    }

    #[test]
    fn what_is_too_large_or_has_no_media_is_refused() {
        assert!(matches!(check(""), Err(PeerError::NoMedia)));
        assert!(matches!(check("v=0\r\n"), Err(PeerError::NoMedia)));
        assert!(matches!(check(&"m=audio\n".repeat(10_000)), Err(PeerError::TooManySections { sections: 10_000, .. })));
        assert!(matches!(check(&"x".repeat(1 << 20)), Err(PeerError::DescriptionTooLarge { .. })));
        assert!(check("m=audio 9 X 0").is_ok());
    }
}
