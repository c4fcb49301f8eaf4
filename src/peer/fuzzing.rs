//! Descriptions, datagrams and packets that anybody can send us: what `crate::fuzzing` calls for them.

mod receiving;

use super::address_map::{AddressMap, Transport};
use super::mux::{fuzz_queue, fuzz_routes};
use super::sdp;

type Target = (&'static str, fn(&[u8]));

/// The targets, by name.
pub(crate) const TARGETS: &[Target] = &[
    ("sdp", description),
    ("stun", fuzz_routes),
    ("queue", fuzz_queue),
    ("records", receiving::records),
    ("rtp", receiving::rtp),
    ("rtcp", receiving::rtcp),
    ("connection", receiving::connection),
];

fn description(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let sections = sdp::sections(&text);
    let media = text.lines().filter(|line| line.starts_with("m=")).count();
    assert!(sections.len() <= media && sections.iter().all(|section| !section.mid.is_empty()));
    assert!(sdp::check(&text).is_err() || (1..=128).contains(&media));
    assert!(sdp::payload_types(&text).iter().all(|(number, _)| number.0 < 128));
    assert!(!sdp::opens_dtls(&sdp::as_dtls_server(&text)), "who waits does not open");

    let mut map = AddressMap::to_public(&[[198, 51, 100, 7].into()]);
    map.share(Transport::Udp, ([10, 0, 0, 5], 51000).into(), 40000);
    let mapped = map.description(&text);
    assert!(mapped.lines().count() <= text.lines().count(), "a line is smuggled in: {mapped:?}");
    assert_eq!(mapped.lines().filter(|line| line.starts_with("m=")).count(), media);
}
