//! The end: outputs first, while the mix still runs, then everything else, and last a look at what was recorded.

use std::time::Duration;

use super::super::BridgeError;
use super::super::events::{Event, Reason, Summary};
use super::{Ended, Room};
use crate::media::producer::Producer;
use crate::signaling::Command;

impl Room {
    /// Finishes the outputs while the mix still runs, then lets go of everything else.
    pub(super) async fn end(mut self, ended: Ended) -> Result<Summary, BridgeError> {
        let mut summary = self.summary();
        self.seats.values().flat_map(|seat| seat.copies.values()).for_each(Producer::release);
        if let Some((outputs, mut output_events)) = self.outputs.take() {
            let finishing = outputs.finish(self.config.stop_timeout);
            tokio::pin!(finishing);
            summary.outputs = loop {
                tokio::select! {
                    finished = &mut finishing => break finished,
                    Some(event) = output_events.recv() => self.output_event(event).await,
                }
            };
            // What the last ones said may still be in the queue.
            while let Ok(event) = output_events.try_recv() {
                self.output_event(event).await;
            }
            // Outputs go on until what happened before the stop has passed the encoders.
            (summary.frames, summary.frames_dropped) = self.mix.frames();
            summary.sound_lost = self.mix.sound_lost();
        }
        let (now, lost) = (self.clock.running_time().into(), self.lost());
        let verifier = self.verifier.take().map(|mut verifier| {
            verifier.close(now, lost);
            verifier
        });
        for generation in self.seats.keys().copied().collect::<Vec<_>>() {
            self.release(generation, "the bridge ended").await;
        }
        self.send(Command::Leave).await;
        std::mem::take(&mut self.instances).stop().await;
        if let Some(chronicle) = self.chronicle.take() {
            chronicle.end(self.clock.running_time().into()).await;
        }
        let Self { session, mut tasks, mix, events, reports, .. } = self;
        drop(reports);
        let room = session.closed().await;
        // Connections close in bounded time by themselves; a stuck one is dropped with the set.
        tokio::time::timeout(Duration::from_secs(3), async { while tasks.join_next().await.is_some() {} }).await.ok();
        mix.stop().await;
        if let Some(verifier) = verifier {
            let files = verifier.left();
            if files > 0 {
                events.send(Event::Verifying { files }.into()).await.ok();
            }
            summary.recordings = verifier.finish(&events).await;
        }
        let (reason, error) = match (ended, room) {
            (Err((reason, error)), _) => (reason, Some(error)),
            (Ok(_), Err(error)) => (Reason::RoomLost, Some(error.into())),
            (Ok(reason), Ok(())) => (reason, None),
        };
        // Nobody may be left to hear it.
        events.send(Event::Stopped { reason, summary: summary.clone() }.into()).await.ok();
        error.map_or(Ok(summary), Err)
    }
}
