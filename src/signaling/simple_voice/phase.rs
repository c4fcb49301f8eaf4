//! Where a Simple Voice client stands between its requests, and how it brings its offer.

use std::time::{Duration, Instant};

use super::super::SignalingError;

/// How the offer reaches the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OfferBy {
    /// With the join, or if the server does not take it there, in a request of its own.
    #[default]
    Auto,
    /// With the join.
    Join,
    /// In a request of its own, after the join.
    Upload,
}

impl OfferBy {
    /// Reads `offer=`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "join" => Some(Self::Join),
            "upload" => Some(Self::Upload),
            _ => None,
        }
    }
}

/// Where a client stands.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Joins anew at this time.
    Pausing {
        until: Instant,
    },
    /// Our offer is made, for the join or for a request of its own.
    Offering {
        upload: bool,
    },
    /// The reply to `/join` is awaited, until a certain time if we want to leave.
    Joining {
        offered: bool,
        leave_by: Option<Instant>,
    },
    /// The reply to `/offer` is awaited.
    Uploading,
    /// The reply to `/get_answer` is awaited, or the time for the next one.
    Polling {
        asked: Instant,
        next: Option<Instant>,
    },
    /// Our answer is made.
    Answering,
    /// The reply to `/answer` is awaited.
    Handing,
    /// The server has no more to do with it.
    InCall {
        since: Instant,
    },
    /// The reply to `/leave` is awaited.
    Leaving {
        until: Instant,
        then: Then,
    },
    Over,
}

/// What follows when the room was left.
#[derive(Debug)]
pub(crate) enum Then {
    End,
    Fail(SignalingError),
    /// Joins anew, after a time, for a reason.
    Again(Duration, String),
}
