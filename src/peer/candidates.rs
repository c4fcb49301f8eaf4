//! Remote ICE candidates that came before the description they belong to.

use super::error::PeerError;
use crate::terms::IceCandidate;

/// Browsers gather some dozens; more are an attack on memory and on the number of connectivity checks.
const LIMIT: usize = 256;

/// Keeps candidates in order until a remote description is set, and counts them.
#[derive(Debug, Default)]
pub(crate) struct CandidateBuffer {
    waiting: Vec<IceCandidate>,
    has_description: bool,
    count: usize,
}

impl CandidateBuffer {
    /// Gives the candidate back when it can be used at once.
    pub(crate) fn take_or_keep(&mut self, candidate: IceCandidate) -> Result<Option<IceCandidate>, PeerError> {
        self.count += 1;
        if self.count > LIMIT {
            return Err(PeerError::TooManyCandidates { limit: LIMIT });
        }
        if self.has_description {
            return Ok(Some(candidate));
        }
        self.waiting.push(candidate);
        Ok(None)
    }

    /// A remote description was set: gives back what waited for it, and counts anew for its generation.
    pub(crate) fn release(&mut self) -> Vec<IceCandidate> {
        self.has_description = true;
        self.count = 0;
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: usize) -> IceCandidate {
        IceCandidate { candidate: format!("candidate:{number}"), ..Default::default() }
    }

    #[test]
    fn candidates_wait_in_order_for_the_description() {
        let mut buffer = CandidateBuffer::default();
        for number in 0..3 {
            assert_eq!(buffer.take_or_keep(candidate(number)).unwrap(), None);
        }
        assert_eq!(buffer.release(), [candidate(0), candidate(1), candidate(2)]);
        assert_eq!(buffer.take_or_keep(candidate(3)).unwrap(), Some(candidate(3)));
        assert_eq!(buffer.release(), []);
    }

    #[test]
    fn a_flood_of_candidates_is_refused_before_and_after_the_description() {
        let mut buffer = CandidateBuffer::default();
        for _ in 0..2 {
            for number in 0..LIMIT {
                assert!(buffer.take_or_keep(candidate(number)).is_ok());
            }
            let refused = buffer.take_or_keep(candidate(LIMIT));
            assert!(matches!(refused, Err(PeerError::TooManyCandidates { limit: LIMIT })));
            buffer.release();
        }
    }
}
