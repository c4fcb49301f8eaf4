//! What a room tells us and what we ask of it, whatever its protocol.

use std::time::Duration;

use crate::terms::{IceCandidate, IceServer, ParticipantId, SessionDescription};

/// What happened in the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// We are in the room; also after each reconnect, and then perhaps under another id.
    Joined {
        /// Our id.
        me: ParticipantId,
        /// The ICE servers which the room gave us.
        ice_servers: Vec<IceServer>,
    },
    /// Somebody is in the room with whom we have no session yet. A second one for the same participant, after a
    /// [`Event::SessionEnded`], asks to try once more.
    PeerJoined {
        /// Who.
        peer: ParticipantId,
        /// Who is to offer.
        offer: OfferRole,
    },
    /// An offer or an answer came. An offer may come at any time, also from a participant whose session has ended.
    Description {
        /// From whom.
        peer: ParticipantId,
        /// The description.
        description: SessionDescription,
    },
    /// A candidate came, perhaps before the description it belongs to.
    Candidate {
        /// From whom.
        peer: ParticipantId,
        /// The candidate; `None` marks their end.
        candidate: Option<IceCandidate>,
    },
    /// The call with this participant has ended; the participant may still be in the room.
    SessionEnded {
        /// With whom.
        peer: ParticipantId,
    },
    /// A participant has left the room, and with it the call.
    PeerLeft {
        /// Who.
        peer: ParticipantId,
    },
    /// The room cannot be reached at the moment. Flowing media stays up; [`Event::Joined`] follows when it worked.
    Reconnecting {
        /// Counts from 1 since we were last in the room.
        attempt: u32,
        /// When the attempt starts.
        retry_in: Duration,
        /// What went wrong.
        reason: String,
    },
}

/// Who makes the offer between us and a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferRole {
    /// We offer, now.
    WeOffer,
    /// We offer, now, to whoever comes: nobody may be there before a description arrives.
    WeOfferAhead,
    /// The participant offers, if anybody does.
    WeWait,
    /// We ask the participant to offer, with [`Command::Call`].
    WeAskThem,
    /// Nobody offers until somebody wants to call.
    ManualCall,
}

/// What we want from the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Asks for a call where the protocol has a message for it; elsewhere the offer itself is the call.
    Call {
        /// Whom.
        peer: ParticipantId,
    },
    /// Sends an offer or an answer.
    Description {
        /// To whom.
        peer: ParticipantId,
        /// The description.
        description: SessionDescription,
    },
    /// Sends a candidate.
    Candidate {
        /// To whom.
        peer: ParticipantId,
        /// The candidate; `None` marks their end.
        candidate: Option<IceCandidate>,
    },
    /// Ends the call with a participant.
    Hangup {
        /// With whom.
        peer: ParticipantId,
    },
    /// Ends all calls and leaves the room.
    Leave,
}

/// Whom we call by ourselves. We answer everybody in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallPolicy {
    /// Everybody except other gateways: what a bridge does.
    #[default]
    All,
    /// Those who were there when we came, except gateways, which call by themselves: what a person's page does.
    Present,
    /// Nobody.
    None,
}

/// How to join, beyond what the room's URL says.
#[derive(Clone, Debug, Default)]
pub struct JoinOptions {
    /// The `Origin` header; by default that of a page on the same host.
    pub origin: Option<String>,
    /// Whom to call when the URL does not say it (`call=`); by default [`CallPolicy::All`].
    pub call: Option<CallPolicy>,
    /// What ids made for us begin with; by default the prefix of gateways.
    pub id_prefix: Option<&'static str>,
}
