//! What the room tells: how its outputs are, and how it goes as a whole.

use std::time::Instant;

use super::super::events::{Event, Summary};
use super::super::mix::EncoderState;
use super::super::state::{OutputPhase, Snapshot};
use super::Room;
use super::control::failed;
use crate::output::OutputEvent;

impl Room {
    pub(super) async fn output_event(&mut self, event: OutputEvent) {
        match event {
            OutputEvent::Ready { output, play } => {
                self.output_states.entry(output.clone()).or_default().state = OutputPhase::Ready;
                let participant = self.instances.participant(&output);
                self.tell(Event::OutputReady { output, participant, play }).await;
            }
            OutputEvent::Failed { output, error, retry_in } => {
                self.output_states.entry(output.clone()).or_default().state = failed(retry_in.is_some());
                let retry_in = retry_in.map(|pause| pause.as_secs_f64());
                let participant = self.instances.participant(&output);
                self.tell(Event::OutputFailed { output, participant, error, retry_in }).await;
            }
            OutputEvent::Counted { output, pushed, dropped, waiting } => {
                let state = self.output_states.entry(output.clone()).or_default();
                let units = dropped.saturating_sub(state.dropped);
                (state.pushed, state.dropped, state.waiting) = (pushed, dropped, waiting);
                if units > 0 && self.is_recording(&output) {
                    let participant = self.instances.participant(&output);
                    if let Some(verifier) = &mut self.verifier {
                        verifier.left_out(&output, units);
                    }
                    self.tell(Event::MediaLost { output, participant, units, total: dropped }).await;
                }
            }
            OutputEvent::Wants { output, tracks, streams } => self.feed_otherwise(&output, tracks, &streams).await,
            OutputEvent::PartFinished { output, file, start, duration, bytes } => {
                self.tell(Event::PartFinished { output, file, start, duration: duration.as_secs_f64(), bytes }).await;
            }
            OutputEvent::FileBegan { output, path, at } => {
                self.watch_file(&output, &path, at);
                self.file_began(&output, &path, at);
            }
            OutputEvent::FileEnded { path, length, until, complete } => {
                let lost = self.lost();
                if let Some(verifier) = &mut self.verifier {
                    verifier.ended(&path, until, complete, lost);
                }
                if let Some(chronicle) = &mut self.chronicle {
                    chronicle.file_ended(&path, length, complete);
                }
            }
            OutputEvent::Ended { output, complete } => self.output_ended(output, complete).await,
        }
    }

    /// What is lost of a live stream is late; what is lost of a recording is gone.
    fn is_recording(&self, output: &str) -> bool {
        let mut running = self.outputs.iter().flat_map(|(outputs, _)| outputs.running());
        running.any(|spec| spec.is_called(output) && spec.recording_directory().is_some())
    }

    pub(super) async fn snapshot(&mut self, tell: bool) {
        let Some((_, started)) = self.started else { return };
        let disks = self.watch_disks().await;
        let encoders = self.relieve().await;
        self.lost_before = self.lost();
        let (frames, frames_dropped) = self.mix.frames();
        let (since, before) = std::mem::replace(&mut self.frames, (Instant::now(), frames));
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let fps = frames.saturating_sub(before) as f64 / since.elapsed().as_secs_f64().max(0.001);
        let snapshot = Snapshot {
            uptime: started.elapsed().as_secs_f64(),
            participants: self.seats.values().filter(|seat| seat.taken).map(|seat| seat.participant.state()).collect(),
            fps,
            frames_dropped,
            encoders,
            ports: self.network.usage(),
            sound_lost: self.mix.sound_lost(),
            disks,
            outputs: self.output_states.clone(),
        };
        if tell {
            self.tell(Event::Stats(snapshot.clone())).await;
        }
        if let Some(snapshots) = &self.snapshots {
            snapshots.send_replace(snapshot);
        }
    }

    /// Gives encoders that do not keep up fewer pictures, and says so. Returns how they are.
    async fn relieve(&mut self) -> Vec<EncoderState> {
        let (mut states, mut changed) = self.mix.relieve().await;
        for mix in self.seats.values_mut().filter_map(|seat| seat.own.mix.as_mut()) {
            let (of_one, changes) = mix.relieve().await;
            states.extend(of_one);
            changed.extend(changes);
        }
        for state in changed {
            tracing::warn!(
                encoder = state.encoder,
                level = state.level,
                fps = state.fps,
                "how it keeps up has changed"
            );
            self.tell(Event::Overload(state)).await;
        }
        states
    }

    pub(super) fn summary(&self) -> Summary {
        let (frames, frames_dropped) = self.mix.frames();
        Summary {
            room: self.config.room.room().to_owned(),
            started: self.started.map_or_else(jiff::Timestamp::now, |(time, _)| time),
            duration: self.started.map_or(0.0, |(_, started)| started.elapsed().as_secs_f64()),
            participants: self.everybody.len(),
            frames,
            frames_dropped,
            sound_lost: self.mix.sound_lost(),
            outputs: Vec::new(),
            recordings: Vec::new(),
        }
    }
}
