//! A client under test, with a clock that only the test moves, and what it wants in short words.
//!
//! Each protocol's tests say how a client is made, what is particular to it, and which words are its own.

use std::time::{Duration, Instant};

use super::codec::{ClientCodec, Next, Output};
use super::{Command, Event, SignalingError};

/// A client with a clock that only the test moves.
pub(super) struct Bench<C> {
    pub(super) client: C,
    pub(super) now: Instant,
    short: fn(Output) -> String,
}

impl<C: ClientCodec> Bench<C> {
    /// `short` says what the client wants; [`short`] serves for what is not particular.
    pub(super) fn of(client: C, short: fn(Output) -> String) -> Self {
        Self { client, now: Instant::now(), short }
    }

    pub(super) fn open(&mut self) -> Vec<String> {
        self.client.opened(self.now);
        self.said()
    }

    pub(super) fn receive(&mut self, text: &str) -> Vec<String> {
        self.client.receive(text, self.now);
        self.said()
    }

    pub(super) fn command(&mut self, command: Command) -> Vec<String> {
        self.client.command(command, self.now);
        self.said()
    }

    pub(super) fn fail(&mut self, error: SignalingError) -> Vec<String> {
        self.client.lost(error, self.now);
        self.said()
    }

    /// Moves time forward, stopping wherever the client wants to be woken.
    pub(super) fn wait(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut said = Vec::new();
        while let Some(at) = self.client.wake_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.client.wake(self.now);
            said.extend(self.said());
        }
        self.now = end;
        said
    }

    /// What the client wants now.
    pub(super) fn said(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.client.poll(self.now)).map(self.short).collect()
    }
}

/// Frames as they are, events and ends in words.
pub(super) fn short(output: Output) -> String {
    match output {
        Output::Frame(text) => text,
        Output::Event(Event::Joined { me, .. }) => format!("joined as {me}"),
        Output::Event(Event::PeerJoined { peer, offer }) => format!("{peer} is here, {offer:?}"),
        Output::Event(Event::PeerLeft { peer }) => format!("{peer} left"),
        Output::Event(Event::SessionEnded { peer }) => format!("call with {peer} ended"),
        Output::Event(Event::Description { peer, description }) => format!("{:?} of {peer}", description.kind),
        Output::Event(Event::Candidate { peer, candidate }) => match candidate {
            Some(c) => format!("{peer}: {} {:?} {:?}", c.candidate, c.sdp_mid, c.sdp_m_line_index),
            None => format!("{peer}: end of candidates"),
        },
        Output::Event(other) => format!("{other:?}"),
        Output::Disconnect(Next::Reconnect { delay: None, .. }) => "reconnect".into(),
        Output::Disconnect(Next::Reconnect { delay: Some(delay), .. }) => format!("reconnect in {} s", delay.as_secs()),
        Output::Disconnect(Next::Failed(error)) => format!("failed: {error}"),
        Output::Disconnect(Next::Ended) => "ended".into(),
    }
}

/// As [`short`], with the text of descriptions.
pub(super) fn short_with_sdp(output: Output) -> String {
    match output {
        Output::Event(Event::Description { peer, description }) => {
            format!("{:?} of {peer}: {}", description.kind, description.sdp)
        }
        other => short(other),
    }
}

/// Numbered ids.
pub(super) fn ids(prefix: &'static str) -> super::IdSource {
    let counter = std::sync::atomic::AtomicU32::new(1);
    Box::new(move || format!("{prefix}{}", counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))
}
