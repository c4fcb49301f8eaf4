//! Receives the RTP that an SDP describes: a socket per media and its RTCP, and an rtpbin that puts packets in order and
//! sound and picture in step. Decoding is plugged by [`super::pipeline`].
//!
//! Built by hand and not with `sdpdemux`, because that one shares a port with another player (and takes its packets away),
//! keeps the kernel's small receive buffer, and cannot say whether anything arrived.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_sdp as gst_sdp;

use super::ProbeError;
use super::pipeline::element;
use crate::media::payload_types;

/// How long packets may be late: as long as players wait.
const LATENCY_MS: u32 = 200;
/// A keyframe of 1080p arrives as one burst; the kernel's default holds less.
const RECEIVE_BUFFER: i32 = 2 * 1024 * 1024;

/// One `m=` line with a port.
#[derive(Clone, Debug)]
struct Media {
    kind: String,
    address: IpAddr,
    rtp_port: u16,
    rtcp_port: u16,
    formats: Vec<(u8, gst::Caps)>,
    /// Master key and salt of an encrypted stream.
    key: Option<Vec<u8>>,
}

/// What arrived at one port.
#[derive(Clone, Debug)]
pub(super) struct Port {
    kind: String,
    number: u16,
    packets: Arc<AtomicU64>,
}

impl Port {
    /// Says that nothing came, when nothing came.
    pub(super) fn silence(&self) -> Option<String> {
        (self.packets.load(Ordering::Relaxed) == 0).then(|| {
            format!(
                "no RTP on port {} ({}): is the sender running, and does it send to this machine? another player may \
                 take the packets",
                self.number, self.kind
            )
        })
    }
}

/// Reads the media lines; those with port 0 are refused media (RFC 3264, section 6).
fn read(text: &str) -> Result<Vec<Media>, ProbeError> {
    let bad = |reason: String| ProbeError::BadSdp { reason };
    let sdp = gst_sdp::SDPMessage::parse_buffer(text.as_bytes()).map_err(|_| bad("it cannot be parsed".into()))?;
    let session_address = sdp.connection().and_then(gst_sdp::SDPConnection::address).map(str::to_owned);
    let mut medias = Vec::new();
    for (index, media) in sdp.medias().enumerate() {
        let kind = media.media().unwrap_or("unknown").to_owned();
        let port = media.port();
        if port == 0 || !matches!(kind.as_str(), "audio" | "video") {
            continue;
        }
        let name = format!("m-line {index} ({kind})");
        let key = media.attribute_val("crypto").and_then(key);
        match media.proto() {
            Some("RTP/AVP" | "RTP/AVPF") => {}
            Some("RTP/SAVP" | "RTP/SAVPF") if key.is_some() => {}
            Some(proto) if proto.contains("SAVP") => {
                return Err(bad(format!(
                    "{name} is encrypted ({proto}): only plain RTP can be received, and SRTP with an AES_CM_128_HMAC_SHA1_80 key in the SDP"
                )));
            }
            proto => return Err(bad(format!("{name} is {}, not RTP", proto.unwrap_or("nothing")))),
        }
        let rtp_port = u16::try_from(port).map_err(|_| bad(format!("{name} has port {port}, above 65535")))?;
        let rtcp_port = media
            .attribute_val("rtcp")
            .and_then(|value| value.split_whitespace().next()?.parse().ok())
            .or(rtp_port.checked_add(1))
            .ok_or_else(|| bad(format!("{name} has port {port}: no port is left for its RTCP")))?;
        let address = media.connection(0).and_then(gst_sdp::SDPConnection::address).map(str::to_owned);
        let address = address.or_else(|| session_address.clone());
        let formats: Vec<_> = media.formats().filter_map(|format| caps(&sdp, media, format)).collect();
        if formats.is_empty() {
            return Err(bad(format!("{name} has no payload type with an rtpmap")));
        }
        medias.push(Media { kind, address: bind_address(address.as_deref()), rtp_port, rtcp_port, formats, key });
    }
    if medias.is_empty() {
        return Err(bad("it has no audio and no video with a port".into()));
    }
    Ok(medias)
}

/// The key of a crypto attribute (RFC 4568, section 9.1): `1 AES_CM_128_HMAC_SHA1_80 inline:BASE64|LIFETIME`.
fn key(attribute: &str) -> Option<Vec<u8>> {
    let mut words = attribute.split_whitespace().skip(1);
    let suite = words.next().filter(|suite| *suite == "AES_CM_128_HMAC_SHA1_80");
    let inline = suite.and_then(|_| words.next())?.strip_prefix("inline:")?;
    let key = BASE64.decode(inline.split('|').next()?).ok()?;
    (key.len() == 30).then_some(key)
}

/// A decoder between a source and `rtpbin`.
fn decrypt(
    pipeline: &gst::Pipeline,
    source: &gst::Element,
    key: &[u8],
    protocol: &str,
) -> Result<gst::Element, ProbeError> {
    let decoder = element("srtpdec")?;
    let key = gst::Caps::builder("application/x-srtp")
        .field("srtp-key", gst::Buffer::from_slice(key.to_vec()))
        .field("srtp-cipher", "aes-128-icm")
        .field("srtp-auth", "hmac-sha1-80")
        .field("srtcp-cipher", "aes-128-icm")
        .field("srtcp-auth", "hmac-sha1-80")
        .build();
    decoder.connect("request-key", false, move |_| Some(key.to_value()));
    pipeline.add(&decoder)?;
    source.set_property("caps", gst::Caps::new_empty_simple(format!("application/x-s{protocol}")));
    source.link_pads(Some("src"), &decoder, Some(&format!("{protocol}_sink")))?;
    Ok(decoder)
}

fn caps(sdp: &gst_sdp::SDPMessage, media: &gst_sdp::SDPMediaRef, format: &str) -> Option<(u8, gst::Caps)> {
    let payload_type: u8 = format.parse().ok().filter(|number| *number < 128)?;
    let mut caps = media.caps_from_media(i32::from(payload_type))?;
    let writable = caps.make_mut();
    sdp.attributes_to_caps(writable).ok()?;
    media.attributes_to_caps(writable).ok()?;
    writable.structure_mut(0)?.set_name("application/x-rtp");
    Some((payload_type, caps))
}

/// A group is joined, loopback stays on loopback, and any other destination is this machine by whatever address.
fn bind_address(connection: Option<&str>) -> IpAddr {
    match connection.and_then(|address| address.split('/').next()?.parse::<IpAddr>().ok()) {
        Some(address) if address.is_multicast() || address.is_loopback() => address,
        Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// Adds receivers for all media; `on_stream` gets each ordered RTP stream's pad.
pub(super) fn receive(
    pipeline: &gst::Pipeline,
    text: &str,
    on_stream: impl Fn(&gst::Pad) + Send + Sync + 'static,
) -> Result<Vec<Port>, ProbeError> {
    let medias = read(text)?;
    for media in medias.iter().filter(|media| !media.address.is_multicast()) {
        for port in [media.rtp_port, media.rtcp_port] {
            // Freed at once: GStreamer's own message would not name the port.
            UdpSocket::bind((media.address, port)).map_err(|error| ProbeError::Port { port, error })?;
        }
    }
    let rtpbin = element("rtpbin")?;
    rtpbin.set_property("latency", LATENCY_MS);
    rtpbin.set_property("do-lost", true);
    // Only the sender's timestamps: what is measured is the media, not how evenly the packets arrive.
    rtpbin.set_property_from_str("buffer-mode", "none");
    pipeline.add(&rtpbin)?;
    let maps: Vec<_> = medias.iter().map(|media| media.formats.clone()).collect();
    payload_types::answer(&rtpbin, move |session, payload_type| {
        let formats = maps.get(session as usize)?;
        formats.iter().find(|(known, _)| *known == payload_type).map(|(_, caps)| caps.clone())
    });
    rtpbin.connect_pad_added(move |_, pad| {
        if pad.name().starts_with("recv_rtp_src_") {
            on_stream(pad);
        }
    });
    let mut ports = Vec::new();
    for (session, media) in medias.iter().enumerate() {
        let packets = Arc::new(AtomicU64::new(0));
        for (port, pad) in [(media.rtp_port, "rtp"), (media.rtcp_port, "rtcp")] {
            let source = element("udpsrc")?;
            source.set_property("address", media.address.to_string());
            source.set_property("port", i32::from(port));
            source.set_property("buffer-size", RECEIVE_BUFFER);
            // A group has many receivers; a port of ours has one, or the other one loses its packets.
            source.set_property("reuse", media.address.is_multicast());
            pipeline.add(&source)?;
            let (from, out) = match &media.key {
                Some(key) => (decrypt(pipeline, &source, key, pad)?, format!("{pad}_src")),
                None => (source.clone(), "src".to_owned()),
            };
            from.link_pads(Some(&out), &rtpbin, Some(&format!("recv_{pad}_sink_{session}")))?;
            if pad == "rtp" {
                count(&source, Arc::clone(&packets));
            }
        }
        ports.push(Port { kind: media.kind.clone(), number: media.rtp_port, packets });
    }
    Ok(ports)
}

fn count(source: &gst::Element, packets: Arc<AtomicU64>) {
    if let Some(pad) = source.static_pad("src") {
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, _| {
            packets.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=room\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
        m=video 6000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n\
        m=audio 6002 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/48000/2\r\n\
        a=fmtp:97 streamtype=5;profile-level-id=2;mode=AAC-hbr;config=1190;sizelength=13;indexlength=3;indexdeltalength=3\r\n";

    #[test]
    fn media_lines_become_ports_and_caps() {
        gst::init().unwrap();
        let medias = read(CALL).unwrap();
        let ports: Vec<_> = medias.iter().map(|media| (media.rtp_port, media.rtcp_port)).collect();
        assert_eq!(ports, [(6000, 6001), (6002, 6003)]);
        let caps = medias[1].formats[0].1.structure(0).unwrap();
        assert_eq!(caps.name(), "application/x-rtp");
        assert_eq!(caps.get::<String>("config").unwrap(), "1190");
        assert_eq!(caps.get::<i32>("clock-rate").unwrap(), 48_000);
    }

    #[test]
    fn an_sdp_that_cannot_be_received_says_why() {
        gst::init().unwrap();
        let cases = [
            (CALL.replace("RTP/AVP 96", "UDP/TLS/RTP/SAVPF 96"), "m-line 0 (video) is encrypted"),
            (CALL.replace("RTP/AVP 96", "RTP/SAVP 96"), "m-line 0 (video) is encrypted"),
            (CALL.replace("6000", "0").replace("6002", "0"), "no audio and no video with a port"),
            (CALL.replace("6000", "65535"), "no port is left for its RTCP"),
            (CALL.replace("a=rtpmap:96 H264/90000\r\n", ""), "m-line 0 (video) has no payload type with an rtpmap"),
            (String::from("v=0\r\n"), "no audio and no video with a port"),
        ];
        for (text, expected) in cases {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn sockets_bind_where_the_packets_go() {
        for (connection, expected) in [
            (Some("127.0.0.1"), "127.0.0.1"),
            (Some("239.1.2.3/16"), "239.1.2.3"),
            (Some("192.0.2.7"), "0.0.0.0"),
            (Some("2001:db8::1"), "::"),
            (Some("call.example"), "0.0.0.0"),
            (None, "0.0.0.0"),
        ] {
            assert_eq!(bind_address(connection).to_string(), expected, "{connection:?}");
        }
    }
}
