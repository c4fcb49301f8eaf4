//! Descriptions, candidates and fragments that somebody made up. A fragment and a description may follow each other, with an
//! empty line in between.

use super::super::{sdp_candidates, sdpfrag::SdpFragment, simple_voice};
use crate::terms::{IceCandidate, SdpType, SessionDescription};

pub(super) fn fragments_and_descriptions(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (fragment, description) = text.split_once("\n\n").unwrap_or((&text, &text));
    let candidates = fragment_of(fragment, description);
    description_of(description, &candidates);
    simple_voice::wire::as_offer(SessionDescription { kind: SdpType::Answer, sdp: description.to_owned() });
}

fn fragment_of(text: &str, description: &str) -> Vec<IceCandidate> {
    let Ok(fragment) = SdpFragment::parse(text) else { return Vec::new() };
    if let Some(renewed) = fragment.renew(description) {
        assert!(lines(&renewed, "m=") == lines(description, "m="), "sections come or go: {renewed:?}");
    }
    // What we write, we can read.
    let again = SdpFragment::parse(&fragment.write());
    assert!(again.is_ok_and(|again| again.candidates.len() <= fragment.candidates.len()), "{:?}", fragment.write());
    SdpFragment::of_description(description).write();
    fragment.candidates
}

fn description_of(sdp: &str, candidates: &[IceCandidate]) {
    let mids = sdp_candidates::mids(sdp);
    assert!(mids.len() == lines(sdp, "m="));
    for candidate in candidates {
        sdp_candidates::complete(&mids, candidate.clone());
    }
    let mut full = sdp.to_owned();
    sdp_candidates::insert_all(&mut full, candidates);
    assert!(lines(&full, "m=") == mids.len(), "a section is smuggled in: {full:?}");
    assert!(lines(&full, "") <= lines(sdp, "") + candidates.len() + mids.len(), "a line is smuggled in: {full:?}");
    let once = full.clone();
    sdp_candidates::insert_all(&mut full, &[]);
    assert_eq!(full, once, "the end of candidates is said twice");
    sdp_candidates::fingerprints(sdp);
    sdp_candidates::ice_ufrag(sdp);
}

fn lines(sdp: &str, prefix: &str) -> usize {
    sdp.lines().filter(|line| line.starts_with(prefix)).count()
}
