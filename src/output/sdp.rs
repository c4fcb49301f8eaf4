//! The SDP of the RTP output, from what the payloaders and the participants really send.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gstreamer as gst;

use super::OutputError;
use super::passthrough::{Form, payload_type};
use crate::terms::{Codec, MediaKind};

/// What a receiver must know about one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Media {
    pub(crate) payload_type: u8,
    /// Encoding name, clock rate and channels, as in `rtpmap` (RFC 8866, section 6.6).
    pub(crate) encoding: String,
    /// The parameters of `fmtp`; may be empty.
    pub(crate) parameters: String,
    /// Bits per second, where they are known.
    pub(crate) bitrate: Option<u32>,
    /// Pictures per second, where they are known.
    pub(crate) fps: Option<i32>,
}

impl Media {
    /// Reads a payloader's caps (`application/x-rtp`). `None` while they do not have the parameter sets yet.
    pub(crate) fn from_caps(caps: &gst::Caps, bitrate: u32, fps: Option<i32>) -> Option<Self> {
        let structure = caps.structure(0)?;
        let field = |name: &str| structure.get::<String>(name).ok();
        let payload_type = u8::try_from(structure.get::<i32>("payload").ok()?).ok()?;
        let clock_rate = structure.get::<i32>("clock-rate").ok()?;
        let encoding_name = field("encoding-name")?;
        let (encoding, parameters) = match encoding_name.as_str() {
            "H264" => {
                let profile = field("profile-level-id").unwrap_or_else(|| "42c01e".into());
                let sets = field("sprop-parameter-sets")?;
                (format!("H264/{clock_rate}"), h264(&profile, &sets))
            }
            "MPEG4-GENERIC" => (
                format!("mpeg4-generic/{clock_rate}/{}", field("encoding-params").unwrap_or_else(|| "2".into())),
                format!(
                    "streamtype=5;profile-level-id=2;mode=AAC-hbr;config={};sizelength=13;indexlength=3;\
                     indexdeltalength=3;constantDuration=1024",
                    field("config")?
                ),
            ),
            "OPUS" => return Some(Self { bitrate: Some(bitrate), ..Self::from_codec(Codec::Opus, payload_type) }),
            // G.711 has the rate that it has (RFC 3551, section 4.5.14).
            "PCMU" => {
                let encoding = format!("PCMU/{clock_rate}");
                return Some(Self { payload_type, encoding, parameters: String::new(), bitrate: Some(64_000), fps });
            }
            other => (format!("{other}/{clock_rate}"), String::new()),
        };
        Some(Self { payload_type, encoding, parameters, bitrate: Some(bitrate), fps })
    }

    /// What is passed on in its packets.
    pub(crate) fn from_form(form: &Form) -> Self {
        let mut media = Self::from_codec(form.codec, payload_type(form.codec));
        if let (Codec::H264, Some((sps, pps))) = (form.codec, form.sets.both()) {
            let profile = form.sets.profile_level_id().unwrap_or_else(|| "42c01e".into());
            media.parameters = h264(&profile, &format!("{},{}", BASE64.encode(sps), BASE64.encode(pps)));
        }
        media
    }

    fn from_codec(codec: Codec, payload_type: u8) -> Self {
        let channels = if codec.kind() == MediaKind::Audio { "/2" } else { "" };
        let parameters = match codec {
            Codec::Opus => "sprop-stereo=1;useinbandfec=1",
            Codec::H264 => "packetization-mode=1",
            Codec::Vp8 | Codec::Vp9 | Codec::Av1 => "",
        };
        Self {
            payload_type,
            encoding: format!("{}/{}{channels}", codec.encoding_name(), codec.clock_rate()),
            parameters: parameters.to_owned(),
            bitrate: None,
            fps: None,
        }
    }

    fn write(&self, kind: MediaKind, port: u16, profile: &str, text: &mut String) -> std::fmt::Result {
        let Self { payload_type, encoding, parameters, bitrate, fps } = self;
        write!(text, "m={kind} {port} {profile} {payload_type}\r\n")?;
        if let Some(bitrate) = bitrate {
            write!(text, "b=AS:{}\r\n", bitrate / 1000)?;
        }
        write!(text, "a=rtpmap:{payload_type} {encoding}\r\n")?;
        if !parameters.is_empty() {
            write!(text, "a=fmtp:{payload_type} {parameters}\r\n")?;
        }
        fps.map_or(Ok(()), |fps| write!(text, "a=framerate:{fps}\r\n"))
    }
}

fn h264(profile_level_id: &str, sprop_parameter_sets: &str) -> String {
    format!("packetization-mode=1;profile-level-id={profile_level_id};sprop-parameter-sets={sprop_parameter_sets}")
}

/// What a receiver must know about the streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// The room, as the session's name.
    pub(crate) room: String,
    pub(crate) video: Option<Media>,
    pub(crate) audio: Option<Media>,
    /// Sound stands in front of pictures. ffmpeg reads what has come in this order, and when it begins it must hear the report
    /// on sound first: it moves the other stream, and sound that goes back is an error.
    pub(crate) sound_first: bool,
    /// The key that the streams are encrypted with.
    pub(crate) key: Option<SrtpKey>,
}

impl Description {
    /// The SDP for a receiver at `address` (RFC 8866), with CRLF line ends. A group has a `ttl`.
    pub(crate) fn write(&self, address: IpAddr, port: u16, ttl: u8, version: u32) -> String {
        let address_type = if address.is_ipv4() { "IP4" } else { "IP6" };
        // The room's name comes from outside: a line break in it would add lines of its own.
        let room: String = self.room.chars().filter(|character| !character.is_control()).collect();
        let room = if room.trim().is_empty() { "-" } else { &room };
        let destination = match address {
            IpAddr::V4(group) if group.is_multicast() => format!("{group}/{ttl}"),
            other => other.to_string(),
        };
        let origin = if address.is_multicast() { "127.0.0.1".to_owned() } else { address.to_string() };
        let origin_type = if address.is_multicast() { "IP4" } else { address_type };
        let mut text = format!(
            "v=0\r\no=- {port} {version} IN {origin_type} {origin}\r\ns={room}\r\nc=IN {address_type} {destination}\r\n\
             t=0 0\r\n"
        );
        let profile = if self.key.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
        let mut medias =
            [(MediaKind::Video, &self.video, port), (MediaKind::Audio, &self.audio, port.saturating_add(2))];
        if self.sound_first {
            medias.reverse();
        }
        for (kind, media, port) in medias {
            let Some(media) = media else { continue };
            // A string takes everything.
            media.write(kind, port, profile, &mut text).ok();
            if let Some(key) = &self.key {
                text += &key.attribute();
            }
        }
        text
    }
}

/// A master key and its salt (RFC 4568, section 6.1): 16 and 14 bytes. Shown in the SDP and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpKey([u8; 30]);

impl SrtpKey {
    /// Key and salt in one.
    pub(crate) fn bytes(&self) -> &[u8; 30] {
        &self.0
    }

    fn attribute(&self) -> String {
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\r\n", BASE64.encode(self.0))
    }
}

impl std::str::FromStr for SrtpKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| "key= takes 30 bytes in base64: openssl rand -base64 30 | tr + %2B".into())
    }
}

impl std::fmt::Debug for SrtpKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SrtpKey")
    }
}

/// Writes a file so that a reader sees either the old text or the whole new one.
///
/// With `secret`, only we may read it.
pub(crate) fn write_atomically(path: &Path, text: &str, secret: bool) -> Result<(), OutputError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".roomcast").tempfile_in(directory)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        // A temporary file is private; a player may run as somebody else.
        let mode = if secret { 0o600 } else { 0o644 };
        std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(OutputError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::ParameterSets;

    fn description(room: &str) -> Description {
        gst::init().unwrap();
        let video = gst::Caps::builder("application/x-rtp")
            .field("payload", 96)
            .field("clock-rate", 90_000)
            .field("encoding-name", "H264")
            .field("profile-level-id", "42c01f")
            .field("sprop-parameter-sets", "Z0LAH9oBQBbs,aM48gA==")
            .build();
        let audio = gst::Caps::builder("application/x-rtp")
            .field("payload", 97)
            .field("clock-rate", 48_000)
            .field("encoding-name", "MPEG4-GENERIC")
            .field("encoding-params", "2")
            .field("config", "1190")
            .build();
        Description {
            room: room.into(),
            video: Media::from_caps(&video, 1_500_000, Some(30)),
            audio: Media::from_caps(&audio, 128_000, None),
            sound_first: false,
            key: None,
        }
    }

    #[test]
    fn the_description_has_every_line_that_players_need() {
        let text = description("demo").write("127.0.0.1".parse().unwrap(), 5004, 1, 1);
        assert_eq!(text.replace("\r\n", "\n"), include_str!("../../sdp/mix-h264-aac.sdp"));
    }

    #[test]
    fn what_is_copied_is_described_by_what_came() {
        let form = |codec| Form { codec, sets: ParameterSets::default() };
        let description = Description {
            room: "demo".into(),
            video: Some(Media::from_form(&form(Codec::Vp8))),
            audio: Some(Media::from_form(&form(Codec::Opus))),
            sound_first: true,
            key: None,
        };
        let text = description.write("239.1.2.3".parse().unwrap(), 5004, 5, 7);
        assert_eq!(text.replace("\r\n", "\n"), include_str!("../../sdp/copy-vp8-opus-group.sdp"));
        let mut sets = ParameterSets::default();
        sets.learn(&vec![0x67, 0x42, 0xc0, 0x1f].into());
        sets.learn(&vec![0x68, 0xce].into());
        let h264 = Media::from_form(&Form { codec: Codec::H264, sets });
        assert_eq!((h264.payload_type, h264.encoding.as_str()), (102, "H264/90000"));
        assert_eq!(h264.parameters, "packetization-mode=1;profile-level-id=42c01f;sprop-parameter-sets=Z0LAHw==,aM4=");
    }

    #[test]
    fn a_rooms_name_cannot_add_lines() {
        let text = description("a\r\nm=video 1 x").write("::1".parse().unwrap(), 5004, 1, 1);
        assert!(text.contains("s=am=video 1 x\r\n"), "{text}");
        assert!(text.contains("c=IN IP6 ::1\r\n"));
        assert_eq!(text.matches("\r\nm=").count(), 2);
        assert!(description(" ").write("::1".parse().unwrap(), 5004, 1, 1).contains("s=-\r\n"));
    }

    #[test]
    fn a_key_is_in_the_description_and_in_no_log() {
        let key: SrtpKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5".parse().unwrap();
        assert_eq!(format!("{key:?}"), "SrtpKey");
        let text = Description { key: Some(key), ..description("x") }.write("127.0.0.1".parse().unwrap(), 5004, 1, 1);
        assert_eq!(text.matches("RTP/SAVP").count(), 2);
        let line = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5\r\n";
        assert_eq!(text.matches(line).count(), 2, "{text}");
        for wrong in ["", "xyz!", "MDEy"] {
            assert!(wrong.parse::<SrtpKey>().unwrap_err().contains("30 bytes"), "{wrong}");
        }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("call.sdp");
        write_atomically(&path, "old", false).unwrap();
        write_atomically(&path, "new", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
