//! What our own interceptors share: a stage looks at each packet, and [`Staged`] makes it part of the rtc crate's chain.
//!
//! A stage never holds a packet back and never makes one, so it needs no timers and no queues of its own.

use std::collections::VecDeque;
use std::time::Instant;

use rtc::interceptor::{Attribute, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

/// Whether a packet goes on through the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// To the next interceptor.
    Pass,
    /// To the next interceptor, marked as something that was sent before.
    PassAgain,
    /// Nowhere.
    Drop,
}

/// Looks at packets on their way through the chain and may change them. Runs on the connection's driver: never waits.
pub(crate) trait Stage: Send + Sync {
    /// A packet from the network.
    fn inbound(&mut self, _packet: &mut Packet) -> Verdict {
        Verdict::Pass
    }

    /// A packet to the network.
    fn outbound(&mut self, _packet: &mut Packet) {}

    /// A stream of ours was negotiated.
    fn local_stream_added(&mut self, _info: &StreamInfo) {}

    /// A stream of ours went away.
    fn local_stream_removed(&mut self, _info: &StreamInfo) {}

    /// A remote stream was negotiated.
    fn remote_stream_added(&mut self, _info: &StreamInfo) {}

    /// A remote stream went away.
    fn remote_stream_removed(&mut self, _info: &StreamInfo) {}
}

/// A [`Stage`] as an interceptor.
pub(crate) struct Staged<S> {
    stage: S,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl<S> Staged<S> {
    pub(crate) fn new(stage: S) -> Self {
        Self { stage, reads: VecDeque::new(), writes: VecDeque::new() }
    }
}

impl<S: Stage> Protocol<TaggedPacket, TaggedPacket, ()> for Staged<S> {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut message: TaggedPacket) -> Result<(), Error> {
        match self.stage.inbound(&mut message.message.packet) {
            Verdict::Pass => {}
            Verdict::PassAgain => {
                message.message.add(Attribute::Retransmission);
            }
            Verdict::Drop => return Ok(()),
        }
        self.reads.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, mut message: TaggedPacket) -> Result<(), Error> {
        self.stage.outbound(&mut message.message.packet);
        self.writes.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }
}

impl<S: Stage> Interceptor for Staged<S> {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        self.stage.local_stream_added(info);
    }

    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        self.stage.local_stream_removed(info);
    }

    fn bind_remote_stream(&mut self, info: &StreamInfo) {
        self.stage.remote_stream_added(info);
    }

    fn unbind_remote_stream(&mut self, info: &StreamInfo) {
        self.stage.remote_stream_removed(info);
    }
}
