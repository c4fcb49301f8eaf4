//! Outputs of one participant: each pattern with `{participant}` gives one, which begins when their tracks have begun and ends
//! when they leave.
//!
//! What is copied is taken from the participant's own streams. For what has to be encoded there is a mix of that participant alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::super::BridgeError;
use super::super::events::Event;
use super::super::mix::{self, Mix};
use super::Room;
use super::own::whole;
use crate::media::mixer::MixerInput;
use crate::output::spec::{Destination, Tracks};
use crate::output::{OutputSpec, Stream};
use crate::terms::{Codec, MediaKind, ParticipantId};

/// A participant's sound and picture come one after the other: a file that began with the first would lack the second.
const SECOND_TRACK: Duration = Duration::from_millis(1500);

/// Tracks that pause or go on together are noticed one after the other.
const TOGETHER: Duration = Duration::from_millis(300);

/// An output that could not begin is tried again after this.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

/// What a seat has besides its place in the room's mix.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// When its outputs are to be looked at.
    pub(super) due: Option<Instant>,
    /// What it sends.
    codecs: HashMap<MediaKind, Codec>,
    /// Kinds of which nothing comes now.
    paused: BTreeSet<MediaKind>,
    /// Patterns of which it gets no more.
    declined: BTreeSet<String>,
    /// For outputs that do not copy: a mix of this participant alone.
    pub(super) mix: Option<Mix>,
    pub(super) inputs: HashMap<MediaKind, MixerInput>,
}

/// A running output of one participant.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) participant: ParticipantId,
    pub(super) generation: u64,
    /// The pattern's name.
    pattern: String,
    pub(super) tracks: Tracks,
    /// Counts from 0: a later one takes the place of an earlier one.
    number: u64,
}

/// All participants' outputs.
#[derive(Debug, Default)]
pub(super) struct Instances {
    patterns: Vec<OutputSpec>,
    /// What is decoded for them.
    decoded: BTreeSet<MediaKind>,
    running: BTreeMap<String, Instance>,
    begun: u64,
    /// Mixes of participants who have left, until the outputs that they feed have ended.
    parting: Vec<(BTreeSet<String>, Mix)>,
}

impl Instances {
    pub(super) fn new<'a>(outputs: impl IntoIterator<Item = &'a OutputSpec>) -> Self {
        Self { patterns: outputs.into_iter().filter(|spec| spec.is_pattern()).cloned().collect(), ..Self::default() }
    }

    /// Whose an output is.
    pub(super) fn participant(&self, output: &str) -> Option<ParticipantId> {
        self.running.get(output).map(|instance| instance.participant.clone())
    }

    pub(super) fn patterns(&self) -> &[OutputSpec] {
        &self.patterns
    }

    /// Whether a kind is decoded for what is encoded for participants.
    pub(super) fn decodes(&self, kind: MediaKind) -> bool {
        self.decoded.contains(&kind)
    }

    pub(super) fn names(&self, of: impl Fn(&Instance) -> bool) -> BTreeSet<String> {
        self.running.iter().filter(|(_, instance)| of(instance)).map(|(name, _)| name.clone()).collect()
    }

    /// Stops what is left of participants who have gone.
    pub(super) async fn stop(self) {
        for (_, mix) in self.parting {
            mix.stop().await;
        }
    }
}

impl Room {
    /// Somebody does not want an output any more that a pattern gave: it does not come back with the next track.
    pub(super) fn decline(&mut self, output: &str) {
        if let Some(instance) = self.instances.running.get(output)
            && let Some(seat) = self.seats.get_mut(&instance.generation)
        {
            seat.own.declined.insert(instance.pattern.clone());
        }
    }

    /// A track has begun: outputs wait a moment for the other kind.
    pub(super) fn track_began(&mut self, generation: u64, codec: Codec) {
        if let Some(seat) = self.seats.get_mut(&generation) {
            seat.own.codecs.insert(codec.kind(), codec);
            let both = seat.copies.len() == 2;
            let due = Instant::now() + if both { Duration::ZERO } else { SECOND_TRACK };
            seat.own.due = Some(seat.own.due.map_or(due, |earlier| earlier.min(due)));
        }
    }

    /// A track pauses, or goes on. A muxer would wait for it, and in the end lose the other one.
    pub(super) fn track_flows(&mut self, generation: u64, kind: MediaKind, flows: bool) {
        if let Some(seat) = self.seats.get_mut(&generation) {
            if flows {
                seat.own.paused.remove(&kind)
            } else {
                seat.own.paused.insert(kind)
            };
            seat.own.due.get_or_insert(Instant::now() + TOGETHER);
            if kind == MediaKind::Video
                && let Some(input) = seat.own.inputs.get(&kind)
            {
                mix::place(&[(input, flows)], &whole(&self.config));
            }
        }
    }

    /// A further pattern: everybody who is there gets one.
    pub(super) fn add_pattern(&mut self, spec: OutputSpec) {
        self.instances.patterns.push(spec);
        for seat in self.seats.values_mut() {
            seat.own.due = Some(Instant::now());
        }
    }

    /// Ends a pattern and all that it gave; false when there is none of this name.
    pub(super) fn remove_pattern(&mut self, name: &str) -> bool {
        let Some(at) = self.instances.patterns.iter().position(|spec| spec.is_called(name)) else { return false };
        let pattern = self.instances.patterns.remove(at).to_string();
        self.detach_all(&self.instances.names(|instance| instance.pattern == pattern));
        true
    }

    /// When outputs of a seat are to be looked at next.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.seats.values().filter_map(|seat| seat.own.due).min()
    }

    /// Begins and replaces outputs of those whose tracks have changed.
    pub(super) async fn look_at_instances(&mut self) {
        let now = Instant::now();
        let due: Vec<_> =
            self.seats.iter_mut().filter(|(_, seat)| seat.own.due.is_some_and(|due| due <= now)).collect();
        let mut generations = Vec::new();
        for (generation, seat) in due {
            seat.own.due = None;
            generations.push(*generation);
        }
        if self.outputs.is_none() {
            return;
        }
        for generation in generations {
            for pattern in self.instances.patterns.clone() {
                if let Err(error) = self.look_at(generation, &pattern).await {
                    let (output, error) = (pattern.to_string(), error.to_string());
                    let participant = self.seats.get(&generation).map(|seat| seat.id.clone());
                    let retry_in = Some(AGAIN.as_secs_f64());
                    self.tell(Event::OutputFailed { output, participant, error, retry_in }).await;
                    if let Some(seat) = self.seats.get_mut(&generation) {
                        seat.own.due.get_or_insert(now + AGAIN);
                    }
                }
            }
        }
    }

    /// Lets one participant have what a pattern gives, with those tracks that flow now.
    async fn look_at(&mut self, generation: u64, pattern: &OutputSpec) -> Result<(), BridgeError> {
        let Some(seat) = self.seats.get(&generation) else { return Ok(()) };
        let is_file = matches!(pattern.destination, Destination::File(_));
        let flows = |stream: Stream| match stream.is_copied() {
            true => seat.copies.contains_key(&stream.kind()) && !seat.own.paused.contains(&stream.kind()),
            // What is encoded goes on in black and silence.
            false => !is_file || seat.raw.contains_key(&stream.kind()),
        };
        // When nothing comes at all, what there is waits.
        let chosen = pattern.tracks_for(|kind| seat.own.codecs.get(&kind).copied())?;
        let Some(tracks) = chosen.and_then(|tracks| tracks.only(flows)) else { return Ok(()) };
        let name = pattern.to_string();
        if seat.own.declined.contains(&name) {
            return Ok(());
        }
        let ours = |instance: &&Instance| instance.generation == generation && instance.pattern == name;
        let newest = self.instances.running.values().filter(ours).max_by_key(|instance| instance.number);
        if newest.is_some_and(|newest| newest.tracks == tracks) {
            return Ok(());
        }
        // A file goes on until the next has begun. Nothing else can be there twice: its end is waited for.
        if newest.is_some() && !matches!(pattern.destination, Destination::File(_)) {
            let ours = self.instances.names(|instance| instance.generation == generation && instance.pattern == name);
            self.detach_all(&ours);
            return Ok(());
        }
        let id = seat.id.clone();
        let running: BTreeSet<String> =
            self.outputs.iter().flat_map(|(outputs, _)| outputs.running()).flat_map(OutputSpec::claims).collect();
        let spec = pattern.instance(&id, tracks, |spec| spec.claims().iter().any(|claim| running.contains(claim)))?;
        spec.check()?;
        self.begin_instance(generation, spec, name).await
    }

    async fn begin_instance(&mut self, generation: u64, spec: OutputSpec, pattern: String) -> Result<(), BridgeError> {
        let tracks = spec.tracks;
        let encoded: BTreeSet<_> = tracks.iter().filter(|stream| !stream.is_copied()).collect();
        self.instances.decoded.extend(encoded.iter().map(|stream| stream.kind()));
        self.tell_new_needs();
        let streams = self.own_streams(generation, &encoded).await?;
        let Some(seat) = self.seats.get(&generation) else { return Ok(()) };
        let (participant, number) = (seat.id.clone(), self.instances.begun);
        self.instances.begun += 1;
        self.instances.running.insert(spec.to_string(), Instance { participant, generation, pattern, tracks, number });
        self.begin(spec, streams);
        Ok(())
    }

    /// A file has begun: the one before it is not needed any more.
    pub(super) fn file_began(&mut self, output: &str, path: &Path, at: Duration) {
        let Some(instance) = self.instances.running.get(output) else { return self.mix_began(output, path, at) };
        if let Some(chronicle) = &mut self.chronicle {
            let tracks = instance.tracks.iter().map(Stream::kind).collect();
            chronicle.file_began(path, &instance.participant, tracks, at);
        }
        let earlier = self.instances.names(|other| {
            other.generation == instance.generation
                && other.pattern == instance.pattern
                && other.number < instance.number
        });
        self.detach_all(&earlier);
    }

    /// A participant leaves: their outputs end, and then what feeds them.
    pub(super) async fn end_instances(&mut self, generation: u64, mut own: Own) {
        let names = self.instances.names(|instance| instance.generation == generation);
        self.detach_all(&names);
        if let Some(mix) = own.mix.take() {
            mix.detach(own.inputs.drain()).await;
            self.instances.parting.push((names, mix));
        }
        self.stop_parted().await;
    }

    /// An output has ended, if it was a participant's. Says whose it was.
    pub(super) async fn instance_ended(&mut self, output: &str) -> Option<ParticipantId> {
        let instance = self.instances.running.remove(output)?;
        for (names, _) in &mut self.instances.parting {
            names.remove(output);
        }
        self.stop_parted().await;
        if let Some(seat) = self.seats.get_mut(&instance.generation) {
            seat.own.due.get_or_insert(Instant::now());
        }
        Some(instance.participant)
    }

    async fn stop_parted(&mut self) {
        let parting = std::mem::take(&mut self.instances.parting);
        let (parted, parting) = parting.into_iter().partition::<Vec<_>, _>(|(names, _)| names.is_empty());
        self.instances.parting = parting;
        for (_, mix) in parted {
            mix.stop().await;
        }
    }

    pub(super) fn detach_all(&self, names: &BTreeSet<String>) {
        for name in names {
            let found = self.outputs.as_ref().is_some_and(|(outputs, _)| outputs.detach(name));
            if !found {
                tracing::debug!(output = name, "has ended already");
            }
        }
    }
}
