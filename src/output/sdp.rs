//! The SDP of the RTP output: a template from `sdp/`, filled from what the payloaders really send.

use std::net::IpAddr;
use std::path::Path;

use gstreamer as gst;

use super::OutputError;

const TEMPLATE: &str = include_str!("../../sdp/h264-aac.sdp");

/// What a receiver must know about the streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// The room, as the session's name.
    pub(crate) room: String,
    /// Bits per second of video and of sound.
    pub(crate) bitrates: (u32, u32),
    /// Pictures per second.
    pub(crate) fps: i32,
    /// RFC 6184, section 8.1.
    pub(crate) profile_level_id: String,
    /// SPS and PPS in base64 (RFC 6184, section 8.1).
    pub(crate) sprop_parameter_sets: String,
    /// AudioSpecificConfig in hexadecimal (RFC 3640, section 4.1).
    pub(crate) config: String,
}

impl Description {
    /// Reads the payloaders' caps (`application/x-rtp`). `None` while they do not have the parameter sets yet.
    pub(crate) fn from_caps(
        video: &gst::Caps,
        audio: &gst::Caps,
        room: &str,
        fps: i32,
        bitrates: (u32, u32),
    ) -> Option<Self> {
        let field = |caps: &gst::Caps, name: &str| caps.structure(0)?.get::<String>(name).ok();
        Some(Self {
            room: room.to_owned(),
            bitrates,
            fps,
            profile_level_id: field(video, "profile-level-id").unwrap_or_else(|| "42c01e".into()),
            sprop_parameter_sets: field(video, "sprop-parameter-sets")?,
            config: field(audio, "config")?,
        })
    }

    /// The SDP for a receiver at `address` (RFC 8866), with CRLF line ends.
    pub(crate) fn write(&self, address: IpAddr, port: u16, version: u32) -> String {
        let address_type = if address.is_ipv4() { "IP4" } else { "IP6" };
        // The room's name comes from outside: a line break in it would add lines of its own.
        let room: String = self.room.chars().filter(|character| !character.is_control()).collect();
        let values = [
            ("{session}", port.to_string()),
            ("{version}", version.to_string()),
            ("{address-type}", address_type.to_owned()),
            ("{address}", address.to_string()),
            ("{video-port}", port.to_string()),
            ("{audio-port}", (port + 2).to_string()),
            ("{video-kbps}", (self.bitrates.0 / 1000).to_string()),
            ("{audio-kbps}", (self.bitrates.1 / 1000).to_string()),
            ("{profile-level-id}", self.profile_level_id.clone()),
            ("{sprop-parameter-sets}", self.sprop_parameter_sets.clone()),
            ("{fps}", self.fps.to_string()),
            ("{config}", self.config.clone()),
            // Last, so that nothing inside it is taken for a placeholder.
            ("{room}", if room.trim().is_empty() { "-".to_owned() } else { room }),
        ];
        let text = values.iter().fold(TEMPLATE.to_owned(), |text, (key, value)| text.replace(key, value));
        text.lines().flat_map(|line| [line, "\r\n"]).collect()
    }
}

/// Writes a file so that a reader sees either the old text or the whole new one.
pub(crate) fn write_atomically(path: &Path, text: &str) -> Result<(), OutputError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".roomcast").tempfile_in(directory)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        // A temporary file is private; a player may run as somebody else.
        std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(OutputError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(room: &str) -> Description {
        Description {
            room: room.into(),
            bitrates: (1_500_000, 128_000),
            fps: 30,
            profile_level_id: "42c01f".into(),
            sprop_parameter_sets: "Z0LAH9oBQBbs,aM48gA==".into(),
            config: "1190".into(),
        }
    }

    #[test]
    fn the_description_has_every_line_that_players_need() {
        let text = description("demo").write("127.0.0.1".parse().unwrap(), 5004, 1);
        assert_eq!(
            text.split("\r\n").collect::<Vec<_>>(),
            [
                "v=0",
                "o=- 5004 1 IN IP4 127.0.0.1",
                "s=demo",
                "c=IN IP4 127.0.0.1",
                "t=0 0",
                "m=video 5004 RTP/AVP 96",
                "b=AS:1500",
                "a=rtpmap:96 H264/90000",
                "a=fmtp:96 packetization-mode=1;profile-level-id=42c01f;sprop-parameter-sets=Z0LAH9oBQBbs,aM48gA==",
                "a=framerate:30",
                "m=audio 5006 RTP/AVP 97",
                "b=AS:128",
                "a=rtpmap:97 mpeg4-generic/48000/2",
                "a=fmtp:97 streamtype=5;profile-level-id=2;mode=AAC-hbr;config=1190;sizelength=13;indexlength=3;\
                 indexdeltalength=3;constantDuration=1024",
                "",
            ]
        );
    }

    #[test]
    fn a_rooms_name_cannot_add_lines() {
        let text = description("a\r\nm=video 1 x {config}").write("::1".parse().unwrap(), 5004, 1);
        assert!(text.contains("s=am=video 1 x {config}\r\n"), "{text}");
        assert!(text.contains("c=IN IP6 ::1\r\n"));
        assert_eq!(text.matches("\r\nm=").count(), 2);
        assert!(description(" ").write("::1".parse().unwrap(), 5004, 1).contains("s=-\r\n"));
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("call.sdp");
        write_atomically(&path, "old").unwrap();
        write_atomically(&path, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
