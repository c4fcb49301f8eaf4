//! `rtp://HOST:PORT?sdp=FILE` with its receivers, its groups and its key.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::super::passthrough::{Interface, Multicast};
use super::super::sdp::SrtpKey;
use super::settings::Settings;
use super::tracks::Stream::{Aac, AudioPackets, H264, Opus, Pcmu, VideoPackets};
use super::tracks::Tracks;
use super::{Destination, Parsed};

/// Video to PORT, sound to PORT+2, RTCP one above each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpDestination {
    /// The receiver's address, or a group.
    pub address: IpAddr,
    /// The even port of the video.
    pub port: u16,
    /// Further receivers of the same packets.
    pub to: Vec<SocketAddr>,
    /// Where the SDP file is written; those of further receivers beside it.
    pub sdp: Option<PathBuf>,
    /// How long sound and picture of the mix are held so that both leave at the same moment of their clock.
    pub latency: Duration,
    /// How it leaves when it goes to a group.
    pub multicast: Multicast,
    /// How often a copied picture gets a keyframe; the bridge's distance when it is not said.
    pub keyframe: Option<Duration>,
    /// Encrypts with this key (SRTP).
    pub key: Option<SrtpKey>,
}

impl RtpDestination {
    /// All receivers, the first one first.
    pub fn receivers(&self) -> impl Iterator<Item = SocketAddr> {
        std::iter::once(SocketAddr::new(self.address, self.port)).chain(self.to.iter().copied())
    }
}

pub(super) fn parse(text: &str) -> Parsed {
    let url = Url::parse(text).map_err(|error| format!("{error}: write rtp://HOST:PORT?sdp=FILE"))?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the host is missing: write rtp://HOST:PORT")?;
    let port = url.port().ok_or("the port is missing: write rtp://HOST:PORT with an even port")?;
    let first = receiver(host, port)?;
    let mut settings = Settings::new(url.query().unwrap_or_default());
    let to = settings.take_all("to").iter().map(|to| further(to)).collect::<Result<Vec<_>, _>>()?;
    if let Some(other) = to.iter().find(|to| to.is_ipv4() != first.is_ipv4()) {
        return Err(format!("to={other} is of another version of IP than {first}: use an output of its own"));
    }
    let sdp = settings.take("sdp").filter(|path| !path.is_empty()).map(PathBuf::from);
    let latency = settings.number("latency", 0..=5_000)?.unwrap_or(120);
    let ttl = settings.number("ttl", 0..=255)?.and_then(|ttl| u8::try_from(ttl).ok());
    let interface = settings.take("interface").map(|name| interface(&name)).transpose()?;
    if (ttl.is_some() || interface.is_some()) && !to.iter().chain([&first]).any(|receiver| receiver.ip().is_multicast())
    {
        return Err("ttl= and interface= are for groups: use an address from 224.0.0.0 to 239.255.255.255".into());
    }
    let keyframe = settings.number("keyframe", 1..=60)?.map(|seconds| Duration::from_secs(seconds.into()));
    // A plus sign in a query means a space.
    let key = settings.take("key").map(|key| key.replace(' ', "+").parse()).transpose()?;
    let tracks = Tracks::take(&mut settings, &[H264, VideoPackets], &[Aac, Opus, Pcmu, AudioPackets])?;
    settings.end()?;
    let destination = RtpDestination {
        address: first.ip(),
        port,
        to,
        sdp,
        latency: Duration::from_millis(latency.into()),
        multicast: Multicast { ttl: ttl.unwrap_or(1), interface },
        keyframe,
        key,
    };
    Ok((Destination::Rtp(Box::new(destination)), tracks))
}

fn receiver(host: &str, port: u16) -> Result<SocketAddr, String> {
    if port % 2 == 1 {
        return Err(format!(
            "port {port} is odd: RTP uses even ports and RTCP the odd one above, so try {}",
            port & !1
        ));
    }
    if !(2..=65_532).contains(&port) {
        return Err(format!("port {port} leaves no room: video, sound and RTCP use four ports from it"));
    }
    (host.trim_matches(['[', ']']), port)
        .to_socket_addrs()
        .map_err(|error| format!("the host `{host}` cannot be found: {error}"))?
        .next()
        .ok_or_else(|| format!("the host `{host}` has no address"))
}

fn further(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("to={text}: write to=HOST:PORT"))?;
    let port = port.parse().map_err(|_| format!("to={text}: `{port}` is not a port"))?;
    receiver(host, port).map_err(|reason| format!("to={text}: {reason}"))
}

/// Finds an interface by its name or by one of its addresses.
fn interface(text: &str) -> Result<Interface, String> {
    let all = if_addrs::get_if_addrs().map_err(|error| format!("interface={text}: {error}"))?;
    let address = text.parse::<IpAddr>().ok();
    let found = all.iter().find(|one| one.name == text || Some(one.ip()) == address).ok_or_else(|| {
        let mut names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        format!("interface={text}: there is no such interface or address of ours: use one of {}", names.join(", "))
    })?;
    let v4 = |one: &if_addrs::Interface| match one.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let of_it = || all.iter().filter(|one| one.name == found.name).find_map(v4);
    let address: Option<Ipv4Addr> = v4(found).or_else(of_it);
    Ok(Interface { name: found.name.clone(), address, index: found.index.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::super::{Destination, OutputSpec, Stream};
    use super::*;

    fn parsed(text: &str) -> (RtpDestination, OutputSpec) {
        let spec: OutputSpec = text.parse().unwrap();
        let Destination::Rtp(rtp) = &spec.destination else { panic!("{text}") };
        ((**rtp).clone(), spec)
    }

    #[test]
    fn each_end_is_of_the_mix_or_copied_or_left_out() {
        let tracks = |text: &str| parsed(text).1.tracks;
        let base = "rtp://127.0.0.1:5004";
        assert_eq!(tracks(base), Tracks { video: Some(H264), audio: Some(Aac) });
        assert_eq!(
            tracks(&format!("{base}?video=copy&audio=copy")),
            Tracks { video: Some(VideoPackets), audio: Some(AudioPackets) }
        );
        assert_eq!(tracks(&format!("{base}?video=none&audio=pcmu")), Tracks { video: None, audio: Some(Pcmu) });
        assert_eq!(tracks(&format!("{base}?audio=opus")).audio, Some(Stream::Opus));
    }

    #[test]
    fn groups_further_receivers_keys_and_keyframes_are_settings() {
        let (rtp, _) = parsed("rtp://239.1.2.3:5004?ttl=4&interface=lo&to=239.1.2.4:6000&to=127.0.0.1:7000&keyframe=3");
        let interface = rtp.multicast.interface.clone().unwrap();
        assert_eq!((rtp.multicast.ttl, interface.name.as_str()), (4, "lo"));
        assert_eq!(interface.address, Some(Ipv4Addr::LOCALHOST));
        let receivers: Vec<_> = rtp.receivers().map(|receiver| receiver.to_string()).collect();
        assert_eq!(receivers, ["239.1.2.3:5004", "239.1.2.4:6000", "127.0.0.1:7000"]);
        assert_eq!(rtp.keyframe, Some(Duration::from_secs(3)));
        let (rtp, spec) = parsed("rtp://127.0.0.1:5004?key=++23NDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw");
        assert!(rtp.key.is_some());
        assert!(!spec.to_string().contains("NDU2"), "{spec}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("rtp://127.0.0.1:5004?ttl=3", "are for groups"),
            ("rtp://239.1.2.3:5004?interface=none0", "no such interface"),
            ("rtp://127.0.0.1:5004?to=127.0.0.1", "to=127.0.0.1: write to=HOST:PORT"),
            ("rtp://127.0.0.1:5004?to=127.0.0.1:7", "port 7 is odd"),
            ("rtp://127.0.0.1:5004?to=[::1]:6000", "another version of IP"),
            ("rtp://127.0.0.1:5004?keyframe=0", "from 1 to 60"),
            ("rtp://127.0.0.1:5004?key=short", "30 bytes"),
            ("rtp://127.0.0.1:5004?audio=mp3", "use aac, opus, pcmu, copy, none"),
        ] {
            let reason = text.parse::<OutputSpec>().unwrap_err().to_string();
            assert!(reason.contains(expected), "{text}: {reason}");
        }
    }
}
