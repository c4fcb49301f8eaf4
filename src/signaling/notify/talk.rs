//! What a notify client and the other side have said on one connection, and who is to offer.

use std::time::Instant;

use crate::terms::ParticipantId;

/// Who offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// Whoever has no offer waiting for him.
    #[default]
    Auto,
    /// We do.
    Caller,
    /// The other side does.
    Callee,
}

impl Role {
    /// Reads `role=`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "caller" => Some(Self::Caller),
            "callee" => Some(Self::Callee),
            _ => None,
        }
    }
}

/// What we and the other side have said on this connection.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) peer: ParticipantId,
    /// When we offer if the other side does not.
    pub(crate) offer_at: Option<Instant>,
    /// The user of the session knows of the other side.
    pub(crate) told: bool,
    /// A description of the other side was passed on.
    pub(crate) met: bool,
    /// Our offer is not answered yet.
    pub(crate) offering: bool,
    /// Until when the answer must have come; nobody may be there to give it before we hear something.
    pub(crate) answer_by: Option<Instant>,
    /// The other side's offer crossed ours: its candidates belong to an offer that it takes back.
    pub(crate) glare: bool,
    /// The m-sections of the other side.
    pub(crate) mids: Vec<String>,
    /// Our own.
    pub(crate) own_mids: Vec<String>,
}

impl Talk {
    pub(crate) fn with(peer: &str) -> Self {
        Self {
            peer: ParticipantId::new(peer),
            offer_at: None,
            told: false,
            met: false,
            offering: false,
            answer_by: None,
            glare: false,
            mids: Vec::new(),
            own_mids: Vec::new(),
        }
    }
}
