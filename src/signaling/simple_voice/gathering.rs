//! A description on its way to a protocol without trickle: it waits for its candidates. Pure.

use std::time::{Duration, Instant};

use super::super::sdp_candidates;
use crate::terms::{IceCandidate, SessionDescription};

/// How long a description waits for the end of its candidates.
const GATHERING: Duration = Duration::from_secs(5);
/// Candidates that are kept.
const CANDIDATES: usize = 256;

/// What has come so far.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    description: Option<SessionDescription>,
    candidates: Vec<IceCandidate>,
    complete: bool,
    until: Option<Instant>,
}

impl Gathering {
    /// Begins to wait for a description, which must have come by then.
    pub(crate) fn new(description_by: Instant) -> Self {
        Self { until: Some(description_by), ..Self::default() }
    }

    /// Until when it waits, first for the description and then for its candidates.
    pub(crate) fn until(&self) -> Instant {
        self.until.unwrap_or_else(Instant::now)
    }

    /// Takes the description, and gives it back if it is complete.
    pub(crate) fn description(&mut self, description: SessionDescription, now: Instant) -> Option<SessionDescription> {
        self.description = Some(description);
        self.until = Some(now + GATHERING);
        if self.complete { self.take() } else { None }
    }

    /// Takes a candidate, or the end of them, which may come before the description; gives that if it is complete.
    pub(crate) fn candidate(&mut self, candidate: Option<IceCandidate>) -> Option<SessionDescription> {
        match candidate.filter(|candidate| !candidate.candidate.is_empty()) {
            Some(candidate) if self.candidates.len() < CANDIDATES => self.candidates.push(candidate),
            Some(_) => tracing::debug!("a candidate more than anybody needs"),
            None => {
                self.complete = true;
                return self.take();
            }
        }
        None
    }

    /// The description with all candidates so far. `None` when there is none, or when it was taken before.
    pub(crate) fn take(&mut self) -> Option<SessionDescription> {
        let mut description = self.description.take()?;
        sdp_candidates::insert_all(&mut description.sdp, &self.candidates);
        Some(description)
    }
}
