//! Where candidates and descriptions meet: which section a candidate belongs to, and candidates that are written into a
//! description which has not been sent yet, so that they need no message of their own.

use crate::terms::IceCandidate;

/// Adds a candidate to the section it belongs to. False, and nothing changed, when there is none.
pub(crate) fn insert(sdp: &mut String, candidate: &IceCandidate) -> bool {
    let attribute = candidate.candidate.trim();
    if !attribute.starts_with("candidate:") || attribute.contains(['\r', '\n']) {
        return false;
    }
    let Some(end) = section_end(sdp, candidate) else { return false };
    sdp.insert_str(end, &format!("a={attribute}\r\n"));
    true
}

/// Adds candidates and their end to a description that is to stand for itself: no candidate will follow it (RFC 8840,
/// section 8.2). What the description has already is not repeated.
pub(crate) fn insert_all(sdp: &mut String, candidates: &[IceCandidate]) {
    for candidate in candidates {
        let known = sdp.lines().any(|line| line.strip_prefix("a=") == Some(candidate.candidate.trim()));
        if !known && !insert(sdp, candidate) {
            tracing::debug!("a candidate belongs to no section of its description");
        }
    }
    const END: &str = "a=end-of-candidates";
    if sdp.lines().any(|line| line == END) {
        return;
    }
    for index in (0..mids(sdp).len()).rev() {
        let place = IceCandidate { sdp_m_line_index: u16::try_from(index).ok(), ..IceCandidate::default() };
        if let Some(end) = section_end(sdp, &place) {
            sdp.insert_str(end, &format!("{END}\r\n"));
        }
    }
}

/// Where the candidate's m-section ends, as an offset in bytes.
fn section_end(sdp: &str, candidate: &IceCandidate) -> Option<usize> {
    let starts: Vec<usize> = line_starts(sdp).filter(|&at| sdp[at..].starts_with("m=")).collect();
    let section = |index: usize| {
        let start = *starts.get(index)?;
        Some((start, starts.get(index + 1).copied().unwrap_or(sdp.len())))
    };
    // The WebRTC engine writes an empty mid and the index.
    let index = match candidate.sdp_mid.as_ref().filter(|mid| !mid.is_empty()) {
        Some(mid) => mids(sdp).iter().position(|known| known == mid)?,
        None => usize::from(candidate.sdp_m_line_index?),
    };
    let (_, end) = section(index)?;
    // A last line without its line break cannot be followed by another line.
    sdp[..end].ends_with('\n').then_some(end)
}

fn line_starts(sdp: &str) -> impl Iterator<Item = usize> {
    std::iter::once(0).chain(sdp.match_indices('\n').map(|(at, _)| at + 1)).filter(|&at| at < sdp.len())
}

/// The mids of a description, one per m-section, in order (RFC 8843).
pub(crate) fn mids(sdp: &str) -> Vec<String> {
    let mut mids = Vec::new();
    for line in sdp.lines() {
        if line.starts_with("m=") {
            mids.push(String::new());
        } else if let (Some(mid), Some(current)) = (line.strip_prefix("a=mid:"), mids.last_mut()) {
            mid.trim().clone_into(current);
        }
    }
    mids
}

/// Gives a candidate that names its m-section in only one of the two ways the other one too. The WebRTC engine names its
/// own with an empty mid.
pub(crate) fn complete(mids: &[String], mut candidate: IceCandidate) -> IceCandidate {
    candidate.sdp_mid = candidate.sdp_mid.filter(|mid| !mid.is_empty());
    match (&candidate.sdp_mid, candidate.sdp_m_line_index) {
        (None, Some(index)) => {
            candidate.sdp_mid = mids.get(usize::from(index)).filter(|mid| !mid.is_empty()).cloned();
        }
        (Some(mid), None) => {
            let index = mids.iter().position(|known| known == mid);
            candidate.sdp_m_line_index = index.and_then(|index| u16::try_from(index).ok());
        }
        _ => {}
    }
    candidate
}

/// The fingerprints of the DTLS certificates (RFC 8122): a new connection has new ones.
pub(crate) fn fingerprints(sdp: &str) -> Vec<String> {
    sdp.lines().filter_map(|line| line.strip_prefix("a=fingerprint:")).map(|value| value.trim().to_owned()).collect()
}

/// The first ICE user name fragment: it changes with each ICE generation (RFC 8445, section 9).
pub(crate) fn ice_ufrag(sdp: &str) -> Option<&str> {
    sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\nm=audio 9 x 0\r\na=mid:a0\r\na=ice-ufrag:U\r\nm=video 9 x 0\r\na=mid:v1\r\n";

    fn candidate(mid: Option<&str>, index: Option<u16>) -> IceCandidate {
        IceCandidate {
            candidate: "candidate:1 1 udp 1 192.0.2.7 9 typ host".into(),
            sdp_mid: mid.map(Into::into),
            sdp_m_line_index: index,
            username_fragment: None,
        }
    }

    #[test]
    fn a_candidate_lands_at_the_end_of_its_section() {
        const LINE: &str = "a=candidate:1 1 udp 1 192.0.2.7 9 typ host\r\n";
        let audio = SDP.replace("m=video", &format!("{LINE}m=video"));
        let video = format!("{SDP}{LINE}");
        for (mid, index, expected) in [
            (Some("a0"), None, Some(&audio)),
            (Some("v1"), Some(0), Some(&video)),
            (None, Some(0), Some(&audio)),
            (Some(""), Some(0), Some(&audio)),
            (Some(""), None, None),
            (None, Some(1), Some(&video)),
            (None, Some(2), None),
            (Some("x"), Some(0), None),
            (None, None, None),
        ] {
            let mut sdp = SDP.to_owned();
            let inserted = insert(&mut sdp, &candidate(mid, index));
            assert_eq!(
                (inserted, &sdp),
                (expected.is_some(), expected.unwrap_or(&SDP.to_owned())),
                "{mid:?} {index:?}"
            );
        }
    }

    #[test]
    fn a_candidate_cannot_smuggle_in_another_line() {
        let mut sdp = SDP.to_owned();
        let mut evil = candidate(Some("a0"), None);
        evil.candidate = "candidate:1\r\na=setup:active".into();
        assert!(!insert(&mut sdp, &evil));
        assert_eq!(sdp, SDP);
    }

    #[test]
    fn a_complete_description_has_every_candidate_once_and_says_that_there_are_no_more() {
        const LINES: &str = "a=candidate:1 1 udp 1 192.0.2.7 9 typ host\r\na=end-of-candidates\r\n";
        let mut sdp = SDP.to_owned();
        insert_all(&mut sdp, &[candidate(Some("a0"), None), candidate(Some("a0"), None), candidate(Some("x"), None)]);
        let expected = SDP.replace("m=video", &format!("{LINES}m=video")) + "a=end-of-candidates\r\n";
        assert_eq!(sdp, expected);
        insert_all(&mut sdp, &[]);
        assert_eq!(sdp, expected, "nothing twice");
        let mut nonsense = "nonsense".to_owned();
        insert_all(&mut nonsense, &[candidate(None, Some(0))]);
        assert_eq!(nonsense, "nonsense");
    }

    #[test]
    fn a_description_is_read() {
        assert_eq!(mids(SDP), ["a0", "v1"]);
        assert_eq!(ice_ufrag(SDP), Some("U"));
        assert_eq!((mids("nonsense"), ice_ufrag("")), (vec![], None));
    }
}
