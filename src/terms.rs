//! The nouns which signaling carries, the peer produces and media depacketises.
//!
//! Signaling, peer and media know nothing of each other; what they have in common is this vocabulary of the W3C and the
//! RFCs. Everything here is a value: no I/O, no state.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Who somebody is in a room: the id which the room's signaling protocol uses, never interpreted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParticipantId(String);

impl ParticipantId {
    /// Takes an id as the room spells it.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id as the room spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ParticipantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a session description is for (RFC 8829, section 4.1.10, `RTCSdpType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SdpType {
    /// A proposal that the other side answers.
    Offer,
    /// A provisional answer.
    Pranswer,
    /// The answer that ends a negotiation.
    Answer,
    /// Withdraws our own pending offer.
    Rollback,
}

/// A session description as browsers write it to JSON (`RTCSessionDescriptionInit`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDescription {
    /// Offer, answer, …
    #[serde(rename = "type")]
    pub kind: SdpType,
    /// The SDP itself (RFC 8866); browsers omit it for a rollback.
    #[serde(default)]
    pub sdp: String,
}

/// An ICE candidate as browsers write it to JSON (`RTCIceCandidateInit`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IceCandidate {
    /// The candidate attribute (RFC 8839, section 5.1); empty at the end of candidates.
    #[serde(default)]
    pub candidate: String,
    /// The mid of the m-line it belongs to; some senders leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    /// The index of the m-line it belongs to.
    #[serde(default, rename = "sdpMLineIndex", skip_serializing_if = "Option::is_none")]
    pub sdp_m_line_index: Option<u16>,
    /// The ICE username fragment, which tells one ICE generation from the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_fragment: Option<String>,
}

/// A STUN or TURN server (`RTCIceServer`). `url`, `urls`, a string and a list are read alike.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// `stun:` and `turn:` URLs (RFC 7064, RFC 7065).
    #[serde(alias = "url", deserialize_with = "one_or_many")]
    pub urls: Vec<String>,
    /// TURN user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// TURN password; never shown in a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).field("username", &self.username).finish_non_exhaustive()
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(url) => vec![url],
        OneOrMany::Many(urls) => urls,
    })
}

/// Sound or picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audio => "audio",
            Self::Video => "video",
        })
    }
}

/// A codec that browsers send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// VP8 (RFC 7741).
    Vp8,
    /// H.264 (RFC 6184).
    H264,
    /// VP9 (RFC 9628).
    Vp9,
    /// AV1 (AOM RTP specification v1.0.0).
    Av1,
    /// Opus (RFC 7587).
    Opus,
}

impl Codec {
    /// Every codec, in the order in which they are offered by default.
    pub const ALL: [Self; 5] = [Self::Vp8, Self::H264, Self::Vp9, Self::Av1, Self::Opus];

    /// Whether it carries sound or picture.
    pub fn kind(self) -> MediaKind {
        match self {
            Self::Opus => MediaKind::Audio,
            _ => MediaKind::Video,
        }
    }

    /// The RTP clock rate in Hz.
    pub fn clock_rate(self) -> u32 {
        match self.kind() {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        }
    }

    /// The encoding name of SDP's `rtpmap`, in the spelling of its RFC.
    pub fn encoding_name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::H264 => "H264",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
            Self::Opus => "opus",
        }
    }

    /// Reads an encoding name or MIME subtype, without regard to case.
    pub fn from_encoding_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.encoding_name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encoding_name().to_ascii_lowercase())
    }
}

/// A synchronisation source (RFC 3550, section 3): tells one RTP stream from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ssrc(pub u32);

impl fmt::Display for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An RTP payload type, 0 to 127 (RFC 3550, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PayloadType(pub u8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ice_server_reads_url_and_urls_as_string_and_as_list() {
        for text in [r#"{"url":"stun:a"}"#, r#"{"urls":"stun:a"}"#, r#"{"urls":["stun:a"]}"#, r#"{"url":["stun:a"]}"#] {
            assert_eq!(serde_json::from_str::<IceServer>(text).unwrap().urls, ["stun:a"], "{text}");
        }
    }

    #[test]
    fn a_credential_never_reaches_a_log() {
        let server: IceServer =
            serde_json::from_str(r#"{"urls":"turn:a","username":"u","credential":"hush"}"#).unwrap();
        assert!(!format!("{server:?}").contains("hush"));
    }

    #[test]
    fn a_candidate_is_written_as_browsers_write_it() {
        let candidate = IceCandidate {
            candidate: "candidate:1".into(),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: Some(0),
            username_fragment: None,
        };
        assert_eq!(
            serde_json::to_string(&candidate).unwrap(),
            r#"{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0}"#
        );
    }
}
