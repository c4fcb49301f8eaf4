//! Perfect negotiation (W3C WebRTC, section 10.7) as a pure state machine: what happened goes in, what to do comes out.
//!
//! The connection's task feeds it and carries out its actions one after the other, so an offer is never half made when
//! a remote description arrives. It holds no SDP, no clock and no socket.

use crate::terms::SdpType;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Somebody called: offer, even when nothing was negotiated before.
    Call,
    /// Our tracks or our wish for new ICE credentials differ from what was negotiated.
    Needed {
        /// Whether the offer restarts ICE.
        ice_restart: bool,
    },
    /// A remote description arrived.
    Remote(SdpType),
    /// Our offer was set as the local description.
    OfferSet,
    /// The remote offer was applied and our answer was set as the local description.
    AnswerSet,
    /// The remote answer was applied.
    AnswerApplied,
}

/// What to do about it, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make an offer, set it, send it, and report [`Input::OfferSet`].
    MakeOffer {
        /// Whether it restarts ICE.
        ice_restart: bool,
    },
    /// Take our pending offer back.
    RollBack,
    /// Apply the remote offer, answer it, send the answer, and report [`Input::AnswerSet`].
    Answer,
    /// Apply the remote answer and report [`Input::AnswerApplied`].
    ApplyAnswer,
    /// Apply the remote provisional answer; the final one is still to come.
    ApplyProvisional,
    /// Do nothing with the remote description.
    Ignore(Ignored),
}

/// Why a remote description is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// Both sides offered at once, and this side is the impolite one: the other takes its offer back.
    Glare,
    /// An answer to an offer that we no longer have.
    Stale,
    /// A rollback of an offer that was already answered.
    NothingToRollBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Stable,
    /// An action is being carried out; its report ends this state.
    Busy,
    HaveLocalOffer,
}

/// One connection's negotiation.
#[derive(Debug)]
pub(crate) struct Negotiation {
    polite: bool,
    state: State,
    /// Before the first call or offer nothing is negotiated by itself: tracks may be added in peace.
    started: bool,
    needed: bool,
    ice_restart: bool,
    /// Whether our pending offer restarts ICE, to restart again when it is rolled back.
    offered_restart: bool,
    ignoring_offer: bool,
}

impl Negotiation {
    /// A polite side takes its own offer back when both offer at once.
    pub(crate) fn new(polite: bool) -> Self {
        Self {
            polite,
            state: State::Stable,
            started: false,
            needed: false,
            ice_restart: false,
            offered_restart: false,
            ignoring_offer: false,
        }
    }

    /// Takes what happened and says what to do.
    pub(crate) fn handle(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Call => {
                self.started = true;
                self.needed = true;
                self.offer_if_needed()
            }
            Input::Needed { ice_restart } => {
                if !self.started {
                    return Vec::new();
                }
                self.needed = true;
                self.ice_restart |= ice_restart;
                self.offer_if_needed()
            }
            Input::Remote(SdpType::Offer) => self.remote_offer(),
            Input::Remote(kind) => vec![self.remote_reply(kind)],
            Input::OfferSet => {
                self.state = State::HaveLocalOffer;
                Vec::new()
            }
            Input::AnswerSet | Input::AnswerApplied => {
                self.state = State::Stable;
                self.offered_restart = false;
                self.offer_if_needed()
            }
        }
    }

    /// Whether candidates that do not fit belong to an offer which we ignored.
    pub(crate) fn is_ignoring_offer(&self) -> bool {
        self.ignoring_offer
    }

    fn remote_offer(&mut self) -> Vec<Action> {
        self.started = true;
        let glare = self.state == State::HaveLocalOffer;
        self.ignoring_offer = glare && !self.polite;
        if self.ignoring_offer {
            return vec![Action::Ignore(Ignored::Glare)];
        }
        self.state = State::Busy;
        if !glare {
            return vec![Action::Answer];
        }
        // What the offer was for is looked at again after the answer; only a wish for new credentials would be lost.
        if std::mem::take(&mut self.offered_restart) {
            self.needed = true;
            self.ice_restart = true;
        }
        vec![Action::RollBack, Action::Answer]
    }

    fn remote_reply(&mut self, kind: SdpType) -> Action {
        match kind {
            SdpType::Rollback => Action::Ignore(Ignored::NothingToRollBack),
            _ if self.state != State::HaveLocalOffer => Action::Ignore(Ignored::Stale),
            SdpType::Pranswer => Action::ApplyProvisional,
            SdpType::Answer | SdpType::Offer => {
                self.ignoring_offer = false;
                self.state = State::Busy;
                Action::ApplyAnswer
            }
        }
    }

    fn offer_if_needed(&mut self) -> Vec<Action> {
        if self.state != State::Stable || !self.needed {
            return Vec::new();
        }
        self.state = State::Busy;
        self.needed = false;
        self.offered_restart = std::mem::take(&mut self.ice_restart);
        vec![Action::MakeOffer { ice_restart: self.offered_restart }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: Input = Input::Needed { ice_restart: false };
    const RESTART: Input = Input::Needed { ice_restart: true };
    const OFFER: Input = Input::Remote(SdpType::Offer);
    const ANSWER: Input = Input::Remote(SdpType::Answer);
    const MAKE: Action = Action::MakeOffer { ice_restart: false };
    const MAKE_RESTART: Action = Action::MakeOffer { ice_restart: true };

    /// Feeds each input and compares what comes out of it.
    fn check(name: &str, polite: bool, steps: &[(Input, &[Action])]) {
        let mut negotiation = Negotiation::new(polite);
        for (index, (input, expected)) in steps.iter().enumerate() {
            assert_eq!(negotiation.handle(*input), *expected, "{name}, step {index}: {input:?}");
        }
    }

    #[test]
    fn a_call_offers_and_the_answer_ends_it() {
        check(
            "call",
            true,
            &[
                (Input::Call, &[MAKE]),
                (Input::OfferSet, &[]),
                (ANSWER, &[Action::ApplyAnswer]),
                (Input::AnswerApplied, &[]),
            ],
        );
    }

    #[test]
    fn tracks_added_before_anybody_called_do_not_offer() {
        check("answerer", true, &[(NEEDED, &[]), (OFFER, &[Action::Answer]), (Input::AnswerSet, &[])]);
    }

    #[test]
    fn an_offer_is_answered_at_any_time() {
        check(
            "renegotiation",
            false,
            &[(OFFER, &[Action::Answer]), (Input::AnswerSet, &[]), (OFFER, &[Action::Answer]), (Input::AnswerSet, &[])],
        );
    }

    #[test]
    fn on_glare_the_polite_side_rolls_back_and_answers() {
        check(
            "polite",
            true,
            &[
                (Input::Call, &[MAKE]),
                (Input::OfferSet, &[]),
                (OFFER, &[Action::RollBack, Action::Answer]),
                (Input::AnswerSet, &[]),
                (ANSWER, &[Action::Ignore(Ignored::Stale)]),
            ],
        );
    }

    #[test]
    fn on_glare_the_impolite_side_keeps_its_offer() {
        let mut negotiation = Negotiation::new(false);
        assert_eq!(negotiation.handle(Input::Call), [MAKE]);
        assert_eq!(negotiation.handle(Input::OfferSet), []);
        assert_eq!(negotiation.handle(OFFER), [Action::Ignore(Ignored::Glare)]);
        assert!(negotiation.is_ignoring_offer());
        assert_eq!(negotiation.handle(ANSWER), [Action::ApplyAnswer]);
        assert!(!negotiation.is_ignoring_offer());
    }

    #[test]
    fn what_becomes_needed_during_a_negotiation_is_offered_after_it() {
        check(
            "offerer",
            false,
            &[
                (Input::Call, &[MAKE]),
                (Input::OfferSet, &[]),
                (NEEDED, &[]),
                (ANSWER, &[Action::ApplyAnswer]),
                (Input::AnswerApplied, &[MAKE]),
                (Input::OfferSet, &[]),
            ],
        );
        check("answerer", true, &[(OFFER, &[Action::Answer]), (NEEDED, &[]), (Input::AnswerSet, &[MAKE])]);
    }

    #[test]
    fn an_ice_restart_survives_a_rollback() {
        check(
            "restart",
            true,
            &[
                (OFFER, &[Action::Answer]),
                (Input::AnswerSet, &[]),
                (RESTART, &[MAKE_RESTART]),
                (Input::OfferSet, &[]),
                (OFFER, &[Action::RollBack, Action::Answer]),
                (Input::AnswerSet, &[MAKE_RESTART]),
                (Input::OfferSet, &[]),
                (ANSWER, &[Action::ApplyAnswer]),
                (Input::AnswerApplied, &[]),
            ],
        );
    }

    #[test]
    fn answers_without_an_offer_and_rollbacks_are_ignored() {
        check(
            "stale",
            true,
            &[
                (ANSWER, &[Action::Ignore(Ignored::Stale)]),
                (Input::Remote(SdpType::Pranswer), &[Action::Ignore(Ignored::Stale)]),
                (Input::Remote(SdpType::Rollback), &[Action::Ignore(Ignored::NothingToRollBack)]),
            ],
        );
    }

    #[test]
    fn a_provisional_answer_keeps_the_offer_open() {
        check(
            "pranswer",
            true,
            &[
                (Input::Call, &[MAKE]),
                (Input::OfferSet, &[]),
                (Input::Remote(SdpType::Pranswer), &[Action::ApplyProvisional]),
                (ANSWER, &[Action::ApplyAnswer]),
            ],
        );
    }
}
