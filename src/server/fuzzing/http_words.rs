//! Names in paths, origins, and what an operator writes about addresses and ICE servers.
//!
//! Lines: a file of an HLS directory, an origin, a host, a list of origins, an address to listen on, an `RTCConfiguration`.

use std::path::{Component, Path};

use crate::server::config::{ListenAddress, RtcConfig};
use crate::server::http::hls_file;
use crate::server::origin::AllowedOrigins;
use crate::server::whip::ice_links;

pub(super) fn names_and_origins(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let file = next();
    if hls_file(file).is_some() {
        let components: Vec<_> = Path::new(file).components().collect();
        assert!(matches!(components[..], [Component::Normal(only)] if only == file), "{file:?} leaves its directory");
        assert!(!file.starts_with('.') && !file.contains('%'), "{file:?}");
    }
    let (origin, host, list) = (next(), next(), next());
    let ours = AllowedOrigins::default();
    assert!(ours.allows(None, Some(host)));
    if ours.allows(Some(origin), Some(host)) && !host.contains("://") {
        // Whoever may come with nothing on the list has our own name.
        let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
        let (_, theirs) = origin.split_once("://").unwrap_or(("", origin));
        let name = name.trim_end_matches('/');
        assert!(theirs.to_ascii_lowercase().starts_with(&name.to_ascii_lowercase()), "{origin:?} is not {host:?}");
    }
    if let Ok(listed) = list.parse::<AllowedOrigins>() {
        assert!(!ours.allows(Some(origin), Some(host)) || listed.allows(Some(origin), Some(host)), "a list adds");
    }
    if let Ok(address) = next().parse::<ListenAddress>() {
        assert_eq!(address.to_string().parse::<ListenAddress>().as_ref(), Ok(&address), "{address}");
    }
    if let Ok(config) = next().parse::<RtcConfig>() {
        ice_links(&config.ice_servers());
    }
}
