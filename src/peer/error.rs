//! What can go wrong with one connection. None of it concerns any other participant.

use crate::terms::{Codec, SdpType};

/// Why a connection could not do what it was asked. The participant it belongs to is dropped; the room goes on.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// No socket or no certificate: our own fault or the machine's.
    #[error("cannot set up a WebRTC connection on {addresses}: {cause}; check --bind and the limit of open files")]
    Setup {
        /// The local addresses that were tried.
        addresses: String,
        /// What the WebRTC engine said.
        cause: String,
    },
    /// The list of codecs has no codec at all.
    #[error("no codec is left to offer; name at least one of vp8, h264, vp9, av1, opus")]
    NoCodecs,
    /// No local address to receive media on.
    #[error("there is no local address for ICE; pass one, e.g. --bind 127.0.0.1")]
    NoAddresses,
    /// A remote description larger than any browser writes.
    #[error("the session description has {bytes} bytes, more than the {limit} that are read")]
    DescriptionTooLarge {
        /// Its size.
        bytes: usize,
        /// The most that is read.
        limit: usize,
    },
    /// A remote description without any m-line.
    #[error("the session description has no m-line, so there is nothing to connect")]
    NoMedia,
    /// A remote description with more m-lines than a call has.
    #[error("the session description has {sections} m-lines, more than the {limit} that are accepted")]
    TooManySections {
        /// How many it has.
        sections: usize,
        /// The most that are accepted.
        limit: usize,
    },
    /// The remote description is not SDP, or does not fit the negotiation.
    #[error("the {kind:?} cannot be applied: {cause}")]
    BadDescription {
        /// What the description is for.
        kind: SdpType,
        /// What the WebRTC engine said.
        cause: String,
    },
    /// We could not make a description of our own.
    #[error("cannot make our {kind:?}: {cause}")]
    LocalDescription {
        /// What the description is for.
        kind: SdpType,
        /// What the WebRTC engine said.
        cause: String,
    },
    /// More candidates than any browser gathers, before a description came.
    #[error("{limit} ICE candidates arrived before any session description")]
    TooManyCandidates {
        /// How many are kept.
        limit: usize,
    },
    /// A track of this codec cannot be added.
    #[error("cannot add a {codec} track: {cause}")]
    Track {
        /// The codec.
        codec: Codec,
        /// What the WebRTC engine said.
        cause: String,
    },
    /// What was to be sent is not an RTP packet.
    #[error("{bytes} bytes are not an RTP packet: {cause}")]
    NotRtp {
        /// How many bytes were passed.
        bytes: usize,
        /// What the parser said.
        cause: String,
    },
    /// The connection has ended.
    #[error("the connection is closed")]
    Closed,
}
