//! How a bridge is doing, for the status lines of a terminal and for `stats` events.

use std::collections::BTreeMap;

use serde::Serialize;

use super::disk::DiskState;
use super::mix::EncoderState;
use crate::peer::PortUsage;
use crate::session::Loss;
use crate::terms::{Codec, MediaKind, ParticipantId};

/// A bridge at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// Seconds since the room was joined.
    pub uptime: f64,
    /// Everybody else in the room.
    pub participants: Vec<ParticipantState>,
    /// Pictures per second that the encoder took in the last interval.
    pub fps: f64,
    /// Pictures that came too fast for the encoder, since the start.
    pub frames_dropped: u64,
    /// How the encoders of pictures keep up.
    pub encoders: Vec<EncoderState>,
    /// How the ports that all participants share are used, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortUsage>,
    /// Seconds of sound that came too fast for the encoder, since the start.
    pub sound_lost: f64,
    /// The disks that recordings are written to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskState>,
    /// Each output's state.
    pub outputs: BTreeMap<String, OutputState>,
}

/// One participant at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParticipantState {
    /// Who.
    pub participant: ParticipantId,
    /// Whether media can flow.
    pub connected: bool,
    /// The video codec, once a picture came.
    pub video: Option<Codec>,
    /// Decoded pictures per second in the last interval.
    pub fps: f64,
    /// Received bits per second in the last interval, sound and picture.
    pub bitrate: f64,
    /// Part of the packets that was lost since the start, after retransmission, 0 to 1.
    pub loss: f64,
    /// Lost packets that were rebuilt from what the sender added for that (FlexFEC), since the start.
    pub rebuilt: u64,
    /// Packets of each kind since the start, after retransmission.
    pub packets: BTreeMap<MediaKind, Loss>,
    /// Round-trip time in seconds.
    pub rtt: Option<f64>,
    /// Packets over `--max-packet-rate`, which were not taken.
    #[serde(skip_serializing_if = "is_none")]
    pub refused: u64,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// One output at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OutputState {
    /// Where it is in its life.
    pub state: OutputPhase,
    /// Access units handed over since it started.
    pub pushed: u64,
    /// Access units lost because it was too slow.
    pub dropped: u64,
    /// Access units that wait in its queues: with each participant's and encoder's delay, all that is ever between the room and a reader.
    pub waiting: u64,
}

/// Where an output is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputPhase {
    /// Not yet proven to play.
    #[default]
    Starting,
    /// Proven to play.
    Ready,
    /// It failed and waits for its next attempt.
    Retrying,
    /// It failed and is not tried again.
    Failed,
}
