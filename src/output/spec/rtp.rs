//! `rtp://HOST:PORT?sdp=FILE&latency=MS`.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::settings::Settings;
use super::tracks::{Stream, Tracks};
use super::{Destination, Parsed};

/// Video to PORT, sound to PORT+2, RTCP one above each.
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

pub(super) fn parse(text: &str) -> Parsed {
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
    let mut settings = Settings::new(url.query().unwrap_or_default());
    let sdp = settings.take("sdp").filter(|path| !path.is_empty()).map(PathBuf::from);
    let latency = settings.number("latency", 0..=5_000)?.unwrap_or(120);
    let tracks = Tracks::take(&mut settings, &[Stream::H264], &[Stream::Aac])?;
    settings.end()?;
    let latency = Duration::from_millis(latency.into());
    Ok((Destination::Rtp(RtpDestination { address, port, sdp, latency }), tracks))
}
