//! What operators ask for with names that strangers chose, and media that strangers send: what `crate::fuzzing` calls for outputs.

use std::net::IpAddr;
use std::path::{Component, Path};

use super::hls::{fuzz_cuts, fuzz_playlist};
use super::names;
use super::passthrough::fuzz_lane;
use super::recording::fuzz_cutter;
use super::spec::{OutputSpec, shown};
use crate::terms::ParticipantId;

type Target = (&'static str, fn(&[u8]));

/// The targets, by name.
pub(crate) const TARGETS: &[Target] = &[
    ("passthrough", fuzz_lane),
    ("cutter", fuzz_cutter),
    ("hls_cuts", fuzz_cuts),
    ("playlist", fuzz_playlist),
    ("output_url", output_url),
    ("names", file_names),
];

/// A value that must not be seen, put where secrets are.
const SECRET: &str = "hush-3141592";

/// First line: the output; second: a participant's id. An output is read or refused, and never shows its secrets.
fn output_url(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (text, id) = text.split_once('\n').unwrap_or((&text, "id"));
    let text = text.split('\n').next().unwrap_or_default();
    if looks_up_names(text) {
        return;
    }
    for key in ["key", "passphrase", "password", "streamkey", "token"] {
        let joint = if text.contains('?') { '&' } else { '?' };
        let with_secret = format!("{text}{joint}{key}={SECRET}");
        assert!(!shown(&with_secret).contains(SECRET), "{with_secret}");
        if let Err(error) = with_secret.parse::<OutputSpec>() {
            assert!(!error.to_string().contains(SECRET), "{with_secret}: {error}");
        }
    }
    let spec = match text.parse::<OutputSpec>() {
        Ok(spec) => spec,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(spec.to_string(), shown(text));
    assert!(!format!("{spec:?}").is_empty());
    let streams = spec.streams().count();
    assert!(streams <= 16, "{streams} streams of one output");
    spec.manifest(id);
    if spec.is_pattern()
        && let Ok(instance) = spec.instance(&ParticipantId::new(id), spec.tracks, |_| false)
    {
        assert!(instance.is_instance() && !instance.is_pattern());
    }
}

/// Whether reading it would ask for a host's address: a search that waits for name servers finds nothing.
fn looks_up_names(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).trim_matches(['[', ']']);
    let is_known = |host: &str| host.is_empty() || host.parse::<IpAddr>().is_ok();
    ["rtp", "rtsp", "ts+udp"].contains(&scheme) && (!is_known(host) || rest.contains("to="))
}

/// First line: a pattern; every other line a value of its keys.
fn file_names(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.split('\n');
    let pattern = lines.next().unwrap_or_default();
    let values: Vec<_> = lines.take(4).collect();
    for value in &values {
        for limit in [32, 100, 255] {
            let safe = names::safe(value, limit);
            let mut components = Path::new(&safe).components();
            assert!(matches!(components.next(), Some(Component::Normal(only)) if only == safe.as_str()), "{safe:?}");
            assert!(components.next().is_none() && !safe.starts_with(['.', '-', ' ']), "{safe:?}");
            assert!(!safe.contains(char::is_control) && !safe.contains(['/', '\\', ':', '\0']), "{safe:?}");
            assert!(safe.len() <= limit, "{safe:?} has more than {limit} bytes");
            // What is safe stays as it is, so nothing is altered twice.
            assert!(safe != *value || names::safe(&safe, limit) == safe);
        }
    }
    let named: Vec<_> = ["room", "participant", "time", "index"].into_iter().zip(values.iter().copied()).collect();
    let filled = names::fill(pattern, &named);
    let (before, after) = (pattern.split('/').count(), filled.to_string_lossy().split('/').count());
    assert_eq!(before, after, "a value adds no directory: {filled:?}");
    names::keys(pattern);
}
