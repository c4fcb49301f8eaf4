//! What the room tells the manifest of its session.

use std::path::Path;
use std::time::Duration;

use super::super::events::Event;
use super::Room;
use crate::output::{OutputSpec, Stream};
use crate::session::Chronicle;

impl Room {
    /// Begins the manifest beside the files of participants, if there are such files.
    pub(super) fn begin_chronicle(&mut self) {
        let (room, zero) = (self.config.room.room(), self.clock.running_time().into());
        let beside = self.instances.patterns().iter().find_map(OutputSpec::session_directory);
        let beside = beside.map(|place| place.join("session.json"));
        // What may be deleted one day has to be known as ours.
        let prunable = || self.config.outputs.iter().find_map(|spec| spec.manifest(room)).filter(|_| self.config.prune);
        let Some(path) = self.config.manifest.clone().or(beside).or_else(prunable) else { return };
        if let Some(directory) = path.parent()
            && let Err(error) = std::fs::create_dir_all(directory)
        {
            tracing::error!(directory = %directory.display(), %error, "there will be no manifest");
        }
        match Chronicle::begin(path, room, jiff::Timestamp::now(), zero) {
            Ok(chronicle) => self.chronicle = Some(chronicle),
            // A call is recorded once; what is missing can be found out afterwards.
            Err(error) => tracing::error!(%error, "there will be no manifest"),
        }
    }

    /// A recording of everybody has begun a file.
    pub(super) fn mix_began(&mut self, output: &str, path: &Path, at: Duration) {
        let (Some(chronicle), Some((outputs, _))) = (&mut self.chronicle, &self.outputs) else { return };
        if let Some(spec) = outputs.running().find(|spec| spec.is_called(output)) {
            chronicle.mix_began(path, output, spec.tracks.iter().map(Stream::kind).collect(), at);
        }
    }

    /// Tells the manifest what everybody is told.
    pub(super) fn note(&mut self, event: &Event) {
        let Some(chronicle) = &mut self.chronicle else { return };
        let at = self.clock.running_time().into();
        match event {
            Event::ParticipantJoined { participant } => chronicle.joined(participant, at),
            Event::ParticipantLeft { participant, reason } => chronicle.left(participant, reason, at),
            Event::TrackStarted { participant, kind, codec, ssrc } => {
                chronicle.track(participant, (*kind, *codec, *ssrc), at);
            }
            Event::TrackStalled { participant, kind } => chronicle.flows(participant, *kind, false, at),
            Event::TrackResumed { participant, kind } => chronicle.flows(participant, *kind, true, at),
            Event::Reconnecting { what, attempt, reason, .. } => chronicle.reconnecting(what, *attempt, reason, at),
            Event::Stats(snapshot) => {
                for state in &snapshot.participants {
                    chronicle.losses(&state.participant, &state.packets);
                }
            }
            _ => {}
        }
    }
}
