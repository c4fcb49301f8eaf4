//! What a connection tells its owner.

use bytes::Bytes;

use super::track::InboundTrack;
use crate::terms::{IceCandidate, MediaKind, SessionDescription, Ssrc};

/// What happened on a connection. Events come in order; the owner may be as slow as it likes without blocking media.
#[derive(Debug)]
pub enum PeerEvent {
    /// Send this to the other side.
    LocalDescription(SessionDescription),
    /// Send this to the other side; `None` ends the candidates of this generation.
    LocalCandidate(Option<IceCandidate>),
    /// ICE and DTLS are up: media can flow. Comes again after [`PeerEvent::Disconnected`].
    Connected,
    /// No answer from the other side for 5 s. It may come back by itself.
    Disconnected,
    /// The connection is dead and should be closed.
    Failed {
        /// Why, for people.
        reason: String,
    },
    /// The other side sends what no honest one does: the connection should be closed, and not be made again.
    Misused {
        /// Which limit it has passed, for people.
        reason: String,
    },
    /// The first packet of a track arrived. Tracks that send nothing never start.
    TrackStarted(InboundTrack),
    /// The other side negotiated a track away (`active: false`: muted by direction, removed or rejected), or back.
    TrackActive {
        /// The track's mid.
        mid: String,
        /// Sound or picture.
        kind: MediaKind,
        /// Whether the other side sends it now.
        active: bool,
    },
    /// A sender report with its source description (RFC 3550, section 6.4.1), for the jitter buffer to bring tracks in
    /// step.
    SenderReport {
        /// The stream that is reported on.
        ssrc: Ssrc,
        /// The whole RTCP compound packet.
        compound: Bytes,
    },
    /// Text from a data channel: chat, on the pages we know.
    Message(String),
}
