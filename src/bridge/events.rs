//! What a bridge tells the world. The JSON form is a contract: names in snake_case, times in RFC 3339, durations in
//! seconds.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::mix::EncoderState;
use super::state::Snapshot;
use super::verify::Verified;
use crate::output::{OutputSummary, Play};
use crate::terms::{Codec, MediaKind, ParticipantId, Ssrc};

/// One event with the moment at which it happened.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// When.
    pub time: Timestamp,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

impl From<Event> for Record {
    fn from(event: Event) -> Self {
        Self { time: Timestamp::now(), event }
    }
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// We are in the room.
    Joined {
        /// The room.
        room: String,
        /// Our id.
        me: ParticipantId,
    },
    /// Somebody else is in the room.
    ParticipantJoined {
        /// Who.
        participant: ParticipantId,
    },
    /// The first packet of a track came.
    TrackStarted {
        /// Whose.
        participant: ParticipantId,
        /// Sound or picture.
        kind: MediaKind,
        /// Its codec.
        codec: Codec,
        /// Its stream.
        ssrc: Ssrc,
    },
    /// Nothing came for two seconds: the camera is off, or the network is down.
    TrackStalled {
        /// Whose.
        participant: ParticipantId,
        /// Sound or picture.
        kind: MediaKind,
    },
    /// It goes on.
    TrackResumed {
        /// Whose.
        participant: ParticipantId,
        /// Sound or picture.
        kind: MediaKind,
    },
    /// Somebody sends more than is taken, and loses what is too much; told once. How much that is stands in `stats`.
    ParticipantLimited {
        /// Who.
        participant: ParticipantId,
        /// Which limit, and the way out.
        reason: String,
    },
    /// Somebody was not let in, because there are as many participants as are taken. Tried again when one of them leaves.
    ParticipantRefused {
        /// Who.
        participant: ParticipantId,
        /// Which limit, and the way out.
        reason: String,
    },
    /// Somebody left, or was dropped.
    ParticipantLeft {
        /// Who.
        participant: ParticipantId,
        /// Why.
        reason: String,
    },
    /// An output plays: roomcast has decoded it as a player would.
    OutputReady {
        /// As it was asked for.
        output: String,
        /// Whose, when it is one of a pattern with `{participant}`.
        #[serde(skip_serializing_if = "Option::is_none")]
        participant: Option<ParticipantId>,
        /// The commands to paste.
        play: Play,
    },
    /// An output failed.
    OutputFailed {
        /// As it was asked for.
        output: String,
        /// Whose, when it is one of a pattern with `{participant}`.
        #[serde(skip_serializing_if = "Option::is_none")]
        participant: Option<ParticipantId>,
        /// Why.
        error: String,
        /// Seconds until it is tried again.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_in: Option<f64>,
    },
    /// A file of a recording is complete: a script may take it.
    PartFinished {
        /// As it was asked for.
        output: String,
        /// The file.
        file: PathBuf,
        /// When its first picture or sound was taken.
        start: Timestamp,
        /// Seconds from there to its last.
        duration: f64,
        /// Its size.
        bytes: u64,
    },
    /// A recording's disk was so slow that its buffer of some seconds did not do: this is not in the file.
    MediaLost {
        /// As it was asked for.
        output: String,
        /// Whose, when it is one of a pattern with `{participant}`.
        #[serde(skip_serializing_if = "Option::is_none")]
        participant: Option<ParticipantId>,
        /// Pictures and pieces of sound in the last second.
        units: u64,
        /// The same since the output began.
        total: u64,
    },
    /// With `--prune`: an earlier recording was deleted, because its disk had reached `--disk-floor`.
    RecordingPruned {
        /// The file.
        file: PathBuf,
        /// Its size.
        bytes: u64,
        /// When it was begun.
        start: Timestamp,
    },
    /// An output has ended: it was detached, or the bridge ends.
    OutputStopped {
        /// As it was asked for.
        output: String,
        /// Whose, when it is one of a pattern with `{participant}`.
        #[serde(skip_serializing_if = "Option::is_none")]
        participant: Option<ParticipantId>,
        /// Whether what it wrote has its end.
        complete: bool,
    },
    /// The call is over, and recordings are decoded once before the end.
    Verifying {
        /// How many.
        files: usize,
    },
    /// A finished recording was decoded.
    Verified(Box<Verified>),
    /// An encoder does not keep up and gets fewer pictures from now on, or it gets more of them again.
    Overload(EncoderState),
    /// Something is being reached again.
    Reconnecting {
        /// The signaling server, or a participant.
        what: String,
        /// Counts from 1.
        attempt: u32,
        /// Seconds until the attempt.
        retry_in: f64,
        /// What went wrong.
        reason: String,
    },
    /// How it goes, every five seconds.
    Stats(Snapshot),
    /// The end.
    Stopped {
        /// Why.
        reason: Reason,
        /// What there was.
        summary: Summary,
    },
}

/// Why a bridge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A signal, or the owner's wish.
    Asked,
    /// `--duration` is over.
    Duration,
    /// Nobody was in the room for `--exit-when-empty`.
    Empty,
    /// The room is gone for good.
    RoomLost,
    /// The mixer or an encoder failed.
    Failed,
}

/// What a whole run was like: also the content of `--report`.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The room.
    pub room: String,
    /// When the room was joined.
    pub started: Timestamp,
    /// Seconds from then to the end.
    pub duration: f64,
    /// How many different participants there were.
    pub participants: usize,
    /// Pictures put out by the mixer.
    pub frames: u64,
    /// Pictures that came too fast for the encoder.
    pub frames_dropped: u64,
    /// Seconds of sound that came too fast for the encoder.
    pub sound_lost: f64,
    /// How each output ended.
    pub outputs: Vec<OutputSummary>,
    /// What was found in each recording: all that are at fault, and up to a thousand in all.
    pub recordings: Vec<Verified>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_flat_json_objects_with_their_name_and_time() {
        let record = Record {
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
            event: Event::TrackStarted {
                participant: ParticipantId::new("a"),
                kind: MediaKind::Video,
                codec: Codec::Vp8,
                ssrc: Ssrc(7),
            },
        };
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"time":"2026-01-02T03:04:05Z","event":"track_started","participant":"a","kind":"video","codec":"vp8","ssrc":7}"#
        );
    }
}
