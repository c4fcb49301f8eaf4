//! What feeds the outputs of one participant: copies of their streams, and for what is encoded a mix of them alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::super::BridgeError;
use super::super::events::Event;
use super::super::mix::{self, Mix};
use super::instances::AGAIN;
use super::{BridgeConfig, Room, Seat};
use crate::media::layout::{Layout, Rect};
use crate::output::{Stream, Streams};
use crate::terms::MediaKind;

impl Room {
    /// The streams of one participant, as they come and encoded.
    pub(super) async fn own_streams(
        &mut self,
        generation: u64,
        encoded: &BTreeSet<Stream>,
    ) -> Result<Streams, BridgeError> {
        let Some(seat) = self.seats.get_mut(&generation) else { return Ok(Streams::default()) };
        let own = &mut seat.own;
        if !encoded.is_empty() {
            let mix = own.mix.get_or_insert_with(|| Mix::new(&self.config, &self.clock));
            mix.provide(encoded).await?;
            for (kind, raw) in &seat.raw {
                if !own.inputs.contains_key(kind)
                    && let Some(input) = mix.attach(*kind, raw.clone()).await?
                {
                    mix::place(&[(&input, true)], &whole(&self.config));
                    own.inputs.insert(*kind, input);
                }
            }
        }
        let mut streams = own.mix.as_ref().map(|mix| mix.streams.clone()).unwrap_or_default();
        for (kind, stream) in [(MediaKind::Video, Stream::VideoPackets), (MediaKind::Audio, Stream::AudioPackets)] {
            streams.insert_tap(stream, Arc::clone(seat.participant.taps().of(kind)));
        }
        for (kind, copy) in &seat.copies {
            let stream = if *kind == MediaKind::Video { Stream::CopiedVideo } else { Stream::CopiedAudio };
            streams.insert(stream, copy.clone());
        }
        Ok(streams)
    }

    /// The mix of one participant has failed: what it fed ends, and is begun anew.
    pub(super) async fn own_mix_failed(&mut self, generation: u64, fault: BridgeError) {
        let names = self.instances.names(|instance| {
            instance.generation == generation && instance.tracks.iter().any(|stream| !stream.is_copied())
        });
        self.detach_all(&names);
        let Some(seat) = self.seats.get_mut(&generation) else { return };
        seat.own.inputs.clear();
        let (mix, participant) = (seat.own.mix.take(), Some(seat.id.clone()));
        seat.own.due = Some(Instant::now() + AGAIN);
        if let Some(mix) = mix {
            mix.stop().await;
        }
        for output in names {
            let (error, participant, retry_in) = (fault.to_string(), participant.clone(), Some(AGAIN.as_secs_f64()));
            self.tell(Event::OutputFailed { output, participant, error, retry_in }).await;
        }
    }
}

/// One participant fills the picture.
pub(super) fn whole(config: &BridgeConfig) -> Vec<Rect> {
    Layout::Single.arrange(config.canvas.size, 1)
}

/// The next failure of a participant's own mix.
pub(super) async fn own_fault(seats: &mut BTreeMap<u64, Seat>) -> (u64, BridgeError) {
    let mixes = seats.iter_mut().filter_map(|(generation, seat)| Some((*generation, seat.own.mix.as_mut()?)));
    let faults: Vec<_> =
        mixes.map(|(generation, mix)| Box::pin(async move { (generation, mix.fault().await) })).collect();
    if faults.is_empty() {
        return std::future::pending().await;
    }
    futures_util::future::select_all(faults).await.0
}
