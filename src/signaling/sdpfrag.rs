//! SDP fragments (`application/trickle-ice-sdpfrag`, RFC 8840, section 9): how WHIP and WHEP carry candidates and new ICE
//! credentials after the offer was answered.
//!
//! Server and client read and write the same type. Any text is accepted or refused, none panics.

use std::fmt::Write as _;

use super::sdp_candidates;
use crate::terms::IceCandidate;

/// The media type.
pub(crate) const CONTENT_TYPE: &str = "application/trickle-ice-sdpfrag";

/// More candidates than any client gathers.
const MAX_CANDIDATES: usize = 256;

/// ICE credentials and the candidates that belong to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SdpFragment {
    /// User name fragment and password, where the fragment has both.
    pub(crate) credentials: Option<(String, String)>,
    /// In order, with their mids.
    pub(crate) candidates: Vec<IceCandidate>,
    /// `a=end-of-candidates`.
    pub(crate) complete: bool,
}

/// Why a text is no fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadFragment {
    #[error("a line is not of the form letter=value")]
    NotSdp,
    #[error("there is neither a candidate nor a=ice-ufrag with a=ice-pwd nor a=end-of-candidates")]
    Empty,
    #[error("there are more than {MAX_CANDIDATES} candidates")]
    TooManyCandidates,
}

impl SdpFragment {
    pub(crate) fn parse(text: &str) -> Result<Self, BadFragment> {
        let (mut fragment, mut ufrag, mut password) = (Self::default(), None, None);
        let (mut mid, mut index): (Option<String>, Option<u16>) = (None, None);
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            let Some((_, value)) = line.split_once('=').filter(|(kind, _)| kind.len() == 1) else {
                return Err(BadFragment::NotSdp);
            };
            if line.starts_with("m=") {
                mid = None;
                index = Some(index.map_or(0, |index| index.saturating_add(1)));
            } else if let Some(value) = value.strip_prefix("ice-ufrag:") {
                ufrag.get_or_insert(value.trim().to_owned());
            } else if let Some(value) = value.strip_prefix("ice-pwd:") {
                password.get_or_insert(value.trim().to_owned());
            } else if let Some(value) = value.strip_prefix("mid:") {
                mid = Some(value.trim().to_owned());
            } else if value == "end-of-candidates" {
                fragment.complete = true;
            } else if value.starts_with("candidate:") {
                if fragment.candidates.len() == MAX_CANDIDATES {
                    return Err(BadFragment::TooManyCandidates);
                }
                fragment.candidates.push(IceCandidate {
                    candidate: value.to_owned(),
                    sdp_mid: mid.clone(),
                    // Fragments leave m-sections out, so a number says something only without a mid.
                    sdp_m_line_index: if mid.is_none() { Some(index.unwrap_or(0)) } else { None },
                    username_fragment: ufrag.clone(),
                });
            }
        }
        fragment.credentials = ufrag.zip(password);
        if fragment.credentials.is_none() && fragment.candidates.is_empty() && !fragment.complete {
            return Err(BadFragment::Empty);
        }
        Ok(fragment)
    }

    /// The ICE part of a description that was gathered completely. The first section carries all in a bundle.
    pub(crate) fn of_description(sdp: &str) -> Self {
        let value =
            |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
        let mid = sdp_candidates::mids(sdp).into_iter().next();
        let candidates =
            sdp.lines().filter_map(|line| line.strip_prefix("a=")).filter(|line| line.starts_with("candidate:"));
        Self {
            credentials: value("a=ice-ufrag:").zip(value("a=ice-pwd:")),
            candidates: candidates
                .map(|line| IceCandidate {
                    candidate: line.trim().to_owned(),
                    sdp_mid: mid.clone(),
                    ..Default::default()
                })
                .collect(),
            complete: true,
        }
    }

    /// A description with these credentials and candidates in place of its own; `None` when there are none that are well
    /// formed (RFC 8839, section 5.4).
    pub(crate) fn renew(&self, description: &str) -> Option<String> {
        let (ufrag, password) = self.credentials.as_ref()?;
        let well_formed = |text: &str, least: usize| {
            (least..=256).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
        };
        if !well_formed(ufrag, 4) || !well_formed(password, 22) {
            return None;
        }
        let mut sdp = String::with_capacity(description.len());
        for line in description.lines().map(str::trim_end) {
            let new = if line.starts_with("a=ice-ufrag:") {
                format!("a=ice-ufrag:{ufrag}")
            } else if line.starts_with("a=ice-pwd:") {
                format!("a=ice-pwd:{password}")
            } else if line.starts_with("a=candidate:") || line == "a=end-of-candidates" {
                continue;
            } else {
                line.to_owned()
            };
            sdp.push_str(&new);
            sdp.push_str("\r\n");
        }
        for candidate in &self.candidates {
            if !sdp_candidates::insert(&mut sdp, candidate) {
                tracing::debug!("a candidate belongs to no section");
            }
        }
        Some(sdp)
    }

    /// As it is sent. Everything is put into one section, that of the first candidate's mid.
    pub(crate) fn write(&self) -> String {
        let mut text = String::new();
        let mid = self.candidates.iter().find_map(|candidate| candidate.sdp_mid.as_deref()).unwrap_or("0");
        if let Some((ufrag, password)) = &self.credentials {
            write!(text, "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n").ok();
        }
        write!(text, "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{mid}\r\n").ok();
        for candidate in &self.candidates {
            write!(text, "a={}\r\n", candidate.candidate).ok();
        }
        if self.complete {
            text.push_str("a=end-of-candidates\r\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0";

    fn candidate(mid: Option<&str>, index: Option<u16>, ufrag: Option<&str>) -> IceCandidate {
        IceCandidate {
            candidate: HOST.to_owned(),
            sdp_mid: mid.map(str::to_owned),
            sdp_m_line_index: index,
            username_fragment: ufrag.map(str::to_owned),
        }
    }

    #[test]
    fn the_fragment_of_the_rfc_is_read() {
        // RFC 9725, section 4.3.2.
        let text = format!(
            "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:EsAw\r\n\
             a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na={HOST}\r\na=end-of-candidates\r\n"
        );
        let expected = SdpFragment {
            credentials: Some(("EsAw".into(), "P2uYro0UCOQ4zxjKXaWCBui1".into())),
            candidates: vec![candidate(Some("0"), None, Some("EsAw"))],
            complete: true,
        };
        assert_eq!(SdpFragment::parse(&text), Ok(expected));
    }

    #[test]
    fn candidates_without_mid_are_numbered_by_their_section() {
        let text = format!("a={HOST}\nm=audio 9 X 0\na={HOST}\nm=video 9 X 0\na=mid:v\na={HOST}\n");
        let expected =
            [candidate(None, Some(0), None), candidate(None, Some(0), None), candidate(Some("v"), None, None)];
        assert_eq!(SdpFragment::parse(&text).unwrap().candidates, expected);
    }

    #[test]
    fn what_is_no_fragment_is_refused() {
        let flood = format!("a={HOST}\r\n").repeat(257);
        for (text, expected) in [
            ("", BadFragment::Empty),
            ("a=ice-ufrag:x\r\n", BadFragment::Empty),
            ("m=audio 9 X 0\r\n", BadFragment::Empty),
            ("{\"candidate\":\"\"}", BadFragment::NotSdp),
            ("garbage", BadFragment::NotSdp),
            (&flood, BadFragment::TooManyCandidates),
        ] {
            assert_eq!(SdpFragment::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_fragment_is_read_as_it_was_written() {
        let sdp = format!(
            "v=0\r\nm=video 9 X 96\r\na=mid:v\r\na=ice-ufrag:U\r\na=ice-pwd:P\r\na={HOST}\r\nm=audio 9 X 0\r\na=mid:a\r\n\
             a=ice-ufrag:U\r\na=ice-pwd:P\r\n"
        );
        let fragment = SdpFragment::of_description(&sdp);
        assert_eq!(fragment.credentials, Some(("U".into(), "P".into())));
        let read = SdpFragment::parse(&fragment.write()).unwrap();
        assert_eq!(read.candidates, [candidate(Some("v"), None, Some("U"))]);
        assert_eq!((read.credentials, read.complete), (fragment.credentials, true));
    }

    const DESCRIPTION: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\nm=video 9 X 96\r\na=mid:0\r\na=ice-ufrag:aaaa\r\n\
                               a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n\
                               a=end-of-candidates\r\na=sendonly\r\n";

    fn renewed(ufrag: &str, password: &str) -> Option<String> {
        let credentials = Some((ufrag.to_owned(), password.to_owned()));
        let fragment = SdpFragment { credentials, candidates: vec![candidate(Some("0"), None, None)], complete: true };
        fragment.renew(DESCRIPTION)
    }

    #[test]
    fn a_restart_changes_credentials_and_candidates_and_nothing_else() {
        let expected = format!(
            "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\nm=video 9 X 96\r\na=mid:0\r\na=ice-ufrag:bbbb\r\n\
             a=ice-pwd:bbbbbbbbbbbbbbbbbbbbbbbb\r\na=sendonly\r\na={HOST}\r\n"
        );
        assert_eq!(renewed("bbbb", "bbbbbbbbbbbbbbbbbbbbbbbb"), Some(expected));
    }

    #[test]
    fn credentials_cannot_smuggle_in_a_line() {
        for (ufrag, password) in [
            ("bbb", "bbbbbbbbbbbbbbbbbbbbbbbb"),
            ("bbbb", "short"),
            ("bb\nbb", "bbbbbbbbbbbbbbbbbbbbbbbb"),
            ("bbbb", "bbbbbbbbbbbbbbbbbbbbbbbb\r\na=x"),
        ] {
            assert_eq!(renewed(ufrag, password), None, "{ufrag:?} {password:?}");
        }
    }
}
