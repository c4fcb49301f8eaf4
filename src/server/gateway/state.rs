//! How a bridge is doing, as its events tell.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A bridge's state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BridgeState {
    /// Its room.
    pub room: String,
    /// What it is doing.
    #[serde(flatten)]
    pub status: BridgeStatus,
    /// Its process, while there is one.
    #[serde(skip)]
    pub process: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Who is in the call.
    pub participants: BTreeSet<String>,
    /// Its outputs, by what they were asked for.
    pub outputs: BTreeMap<String, OutputState>,
    /// Its latest figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<Value>,
}

/// What a bridge is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum BridgeStatus {
    /// On its way into the room.
    Starting,
    /// In the room.
    Running,
    /// Ended unexpectedly, and waits to be started again.
    Restarting {
        /// Why it ended.
        reason: String,
    },
    /// Cannot work.
    Failed {
        /// Why.
        reason: String,
    },
    /// Has ended.
    Stopped,
}

/// An output's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OutputState {
    /// Whether it plays: the bridge has decoded its own result.
    pub ready: bool,
    /// How to play it: commands for `ffplay`, `vlc`, `gst`, and perhaps a `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub play: Option<Value>,
    /// Why it failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What the server offers of each bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveMedia {
    /// The HLS directory.
    Hls,
    /// MPEG-TS over HTTP.
    Ts,
    /// The SDP of RTP.
    Sdp,
}

impl LiveMedia {
    /// How the output that makes it begins.
    fn scheme(self) -> &'static str {
        match self {
            Self::Hls => "hls:",
            Self::Ts => "ts+unix:",
            Self::Sdp => "rtp:",
        }
    }
}

/// The events of a bridge that matter here; others, and unknown fields, are ignored.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum BridgeEvent {
    Joined {},
    ParticipantJoined {
        participant: String,
    },
    ParticipantLeft {
        participant: String,
    },
    OutputReady {
        output: String,
        play: Option<Value>,
    },
    OutputFailed {
        output: String,
        error: Option<String>,
    },
    Stats(Value),
    #[serde(other)]
    Other,
}

impl BridgeState {
    pub(super) fn new(room: &str) -> Self {
        Self {
            room: room.to_owned(),
            status: BridgeStatus::Starting,
            process: None,
            restarts: 0,
            participants: BTreeSet::new(),
            outputs: BTreeMap::new(),
            stats: None,
        }
    }

    /// A new process starts: nothing of the last one holds any more.
    pub(super) fn start_over(&mut self) {
        *self = Self { restarts: self.restarts, ..Self::new(&self.room) };
    }

    /// Takes in one line of a bridge's standard output.
    pub(super) fn read(&mut self, line: &str) {
        let event = match serde_json::from_str(line) {
            Ok(event) => event,
            Err(error) => return tracing::debug!(room = self.room, %error, "a bridge said something odd"),
        };
        match event {
            BridgeEvent::Joined {} => self.status = BridgeStatus::Running,
            BridgeEvent::ParticipantJoined { participant } => drop(self.participants.insert(participant)),
            BridgeEvent::ParticipantLeft { participant } => drop(self.participants.remove(&participant)),
            BridgeEvent::OutputReady { output, play } => {
                self.outputs.insert(output, OutputState { ready: true, play, error: None });
            }
            BridgeEvent::OutputFailed { output, error } => {
                let error = Some(error.unwrap_or_else(|| "no reason given".to_owned()));
                self.outputs.insert(output, OutputState { ready: false, play: None, error });
            }
            BridgeEvent::Stats(stats) => self.stats = Some(stats),
            BridgeEvent::Other => {}
        }
    }

    /// Whether something plays.
    pub fn is_ready(&self, media: LiveMedia) -> bool {
        self.output(media).is_some_and(|output| output.ready)
    }

    /// Why something will not play for now.
    pub fn failure(&self, media: LiveMedia) -> Option<&str> {
        match &self.status {
            BridgeStatus::Failed { reason } => Some(reason),
            BridgeStatus::Stopped => Some("the bridge has ended"),
            _ => self.output(media).and_then(|output| output.error.as_deref()),
        }
    }

    fn output(&self, media: LiveMedia) -> Option<&OutputState> {
        self.outputs.iter().find(|(output, _)| output.starts_with(media.scheme())).map(|(_, state)| state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_make_the_state_and_odd_ones_do_not_break_it() {
        let mut state = BridgeState::new("r");
        for line in [
            r#"{"event":"joined","time":"2026-11-20T12:00:00Z","me":"zzz-gw-1"}"#,
            r#"{"event":"participant_joined","participant":"a","x":1}"#,
            r#"{"event":"participant_joined","participant":"b"}"#,
            r#"{"event":"participant_left","participant":"b"}"#,
            r#"{"event":"output_ready","output":"hls:/d/hls","play":{"ffplay":"ffplay x"}}"#,
            r#"{"event":"output_failed","output":"rtp://127.0.0.1:1?sdp=x","error":"no","retry_in":1}"#,
            r#"{"event":"stats","fps":30}"#,
            r#"{"event":"never_heard_of","output":7}"#,
            r#"{"event":"output_ready"}"#,
            "not json",
            "",
        ] {
            state.read(line);
        }
        assert_eq!(state.status, BridgeStatus::Running);
        assert_eq!(state.participants, BTreeSet::from(["a".to_owned()]));
        assert!(state.is_ready(LiveMedia::Hls) && !state.is_ready(LiveMedia::Ts) && !state.is_ready(LiveMedia::Sdp));
        assert_eq!(state.failure(LiveMedia::Sdp), Some("no"));
        assert_eq!(state.failure(LiveMedia::Ts), None);
        assert_eq!(state.stats.as_ref().unwrap()["fps"], 30);
        state.start_over();
        assert_eq!(state, BridgeState::new("r"));
    }
}
