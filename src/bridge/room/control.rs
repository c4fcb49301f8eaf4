//! Outputs that come and go while the room runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::super::BridgeError;
use super::super::events::Event;
use super::super::participant::{Message, Needs};
use super::super::state::{OutputPhase, OutputState};
use super::super::uplink::{self, WhipUplink};
use super::{REPORTS, Room};
use crate::media::ingest::Decoding;
use crate::media::{elements, template};
use crate::output::spec::Tracks;
use crate::output::{self, OutputSpec, Outputs, Session, Stream, Streams};
use crate::peer;
use crate::terms::MediaKind;

/// What the owner of a bridge may ask for while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Begin with a further output.
    Attach(OutputSpec),
    /// End an output, with its end written: its name is what it was asked for by.
    Detach(String),
}

impl Room {
    /// The outputs of the configuration begin when the room is joined.
    pub(super) async fn start_outputs(&mut self) {
        self.started = Some((jiff::Timestamp::now(), Instant::now()));
        self.begin_chronicle();
        let session = Session {
            room: self.config.room.room().to_owned(),
            fps: self.config.canvas.fps,
            height: self.config.canvas.size.height,
            bitrates: (self.config.video_bitrate, self.config.audio_bitrate),
            uplink: Arc::new(WhipUplink::new(&self.config.network, self.config.ice_servers.clone())),
            gop: Duration::from_secs_f64(self.config.gop),
            resume: self.config.resume,
            manifest: self.chronicle.is_some(),
            protection: peer::protect,
        };
        let (sender, receiver) = mpsc::channel(REPORTS);
        self.outputs = Some((Outputs::new(session, self.clock.clone(), sender), receiver));
        for spec in self.config.outputs.clone().into_iter().filter(|spec| !spec.is_pattern()) {
            self.begin(spec, self.mix.streams.clone());
        }
        self.take_into_mix().await;
    }

    pub(super) async fn control(&mut self, control: Control) {
        match control {
            Control::Attach(spec) => {
                if let Err(error) = self.attach(&spec).await {
                    let (output, error) = (spec.to_string(), error.to_string());
                    self.tell(Event::OutputFailed { output, participant: None, error, retry_in: None }).await;
                }
            }
            Control::Detach(output) => {
                self.decline(&output);
                let found = self.outputs.as_ref().is_some_and(|(outputs, _)| outputs.detach(&output));
                if !found && !self.remove_pattern(&output) {
                    let output = output::spec::shown(&output);
                    let error = "there is no such output: give it as it was asked for".to_owned();
                    self.tell(Event::OutputFailed { output, participant: None, error, retry_in: None }).await;
                }
            }
        }
    }

    async fn attach(&mut self, spec: &OutputSpec) -> Result<(), BridgeError> {
        let Some((outputs, _)) = &self.outputs else {
            return Err(spec.refuse("the room is not joined yet: wait for `joined`").into());
        };
        for claim in spec.claims() {
            if let Some(other) =
                outputs.running().chain(self.instances.patterns()).find(|other| other.claims().contains(&claim))
            {
                return Err(spec.refuse(format!("{claim} is used by output `{other}` as well")).into());
            }
        }
        uplink::check(spec, &self.config.room)?;
        if let Some(missing) = spec.jobs().into_iter().find_map(elements::missing_for) {
            return Err(spec.refuse(missing.to_string()).into());
        }
        spec.check_heights(self.config.canvas.size.height)?;
        for template in spec.templates() {
            template::try_build(template).map_err(|error| spec.refuse(error.to_string()))?;
        }
        spec.check()?;
        if spec.is_pattern() {
            self.add_pattern(spec.clone());
            return Ok(());
        }
        self.mix.provide(&spec.streams().collect()).await?;
        self.take_into_mix().await;
        self.copied = None;
        self.choose_copy();
        self.begin(spec.clone(), self.mix.streams.clone());
        Ok(())
    }

    pub(super) fn begin(&mut self, spec: OutputSpec, streams: Streams) {
        if let Some((outputs, _)) = &mut self.outputs {
            self.output_states.insert(spec.to_string(), OutputState::default());
            outputs.attach(spec, streams);
        }
        self.tell_new_needs();
    }

    /// An output's destination does not take what it was fed with.
    pub(super) async fn feed_otherwise(&mut self, output: &str, tracks: Tracks, to: &mpsc::Sender<Streams>) {
        if let Err(error) = self.mix.provide(&tracks.iter().collect()).await {
            return tracing::error!(output, %error, "the output cannot be fed with another codec");
        }
        if let Some((outputs, _)) = &mut self.outputs {
            outputs.takes(output, tracks);
        }
        self.take_into_mix().await;
        // It waits for them, unless it is ending.
        to.try_send(self.mix.streams.clone()).ok();
        self.stop_idle().await;
    }

    /// An output has ended: what only it needed is stopped.
    pub(super) async fn output_ended(&mut self, output: String, complete: bool) {
        if let Some((outputs, _)) = &mut self.outputs {
            outputs.ended(&output);
        }
        self.output_states.remove(&output);
        let participant = self.instance_ended(&output).await;
        if participant.is_none() {
            self.stop_idle().await;
        }
        self.tell(Event::OutputStopped { output, participant, complete }).await;
    }

    /// Stops what no output needs any more.
    async fn stop_idle(&mut self) {
        let Some((outputs, _)) = &self.outputs else { return };
        let mixed = outputs.running().filter(|spec| !spec.is_instance());
        let wanted: BTreeSet<Stream> = mixed.flat_map(OutputSpec::streams).collect();
        let idle = |kind| !wanted.iter().any(|stream| stream.kind() == kind && !stream.is_copied());
        let mut inputs = Vec::new();
        for seat in self.seats.values_mut() {
            inputs.extend(seat.inputs.extract_if(|kind, _| idle(*kind)));
        }
        self.mix.detach(inputs).await;
        self.mix.keep(&wanted).await;
        self.tell_new_needs();
    }

    /// Takes everybody into a mixer that has begun.
    async fn take_into_mix(&mut self) {
        self.tell_needs();
        let mut refused = Vec::new();
        for (generation, seat) in &mut self.seats {
            for (kind, raw) in &seat.raw {
                if seat.inputs.contains_key(kind) {
                    continue;
                }
                match self.mix.attach(*kind, raw.clone()).await {
                    Ok(input) => seat.inputs.extend(input.map(|input| (*kind, input))),
                    Err(error) => refused.push((*generation, error.to_string())),
                }
            }
        }
        for (generation, reason) in refused {
            self.drop_seat(generation, &reason).await;
        }
        self.arrange();
    }

    /// What participants have to be decoded and unpacked for: the mix, and outputs of their own.
    pub(super) fn needs(&self) -> Needs {
        let Needs { decode, unpack, .. } = self.mix.needs();
        // Outputs of participants take access units, whoever comes.
        let units = !self.instances.patterns().is_empty();
        let both = |needed: &dyn Fn(MediaKind) -> bool| Decoding {
            audio: needed(MediaKind::Audio),
            video: needed(MediaKind::Video),
        };
        let own = |kind| self.instances.decodes(kind);
        let decode =
            Decoding { audio: decode.audio || own(MediaKind::Audio), video: decode.video || own(MediaKind::Video) };
        let is_decoded = |kind| if kind == MediaKind::Audio { decode.audio } else { decode.video };
        let hurries = |spec: &OutputSpec, kind| {
            let takes = |stream: Stream| stream.kind() == kind && stream.is_copied() && !stream.is_packets();
            spec.tracks.iter().any(takes) && !spec.has_time()
        };
        let running = || self.outputs.iter().flat_map(|(outputs, _)| outputs.running());
        Needs {
            decode,
            unpack: Decoding { audio: unpack.audio || units, video: unpack.video || units },
            may_wait: both(&|kind| !is_decoded(kind) && !running().any(|spec| hurries(spec, kind))),
        }
    }

    /// Tells participants what they are needed for, if it is not what they were told last.
    pub(super) fn tell_new_needs(&mut self) {
        if self.told != self.needs() {
            self.tell_needs();
        }
    }

    fn tell_needs(&mut self) {
        let needs = self.needs();
        self.told = needs;
        for seat in self.seats.values() {
            // A participant whose mailbox is full is dropped when the room next speaks to it.
            seat.participant.tell(Message::Need(needs));
        }
    }
}

/// The phase of an output that has failed: for good when it is not tried again.
pub(super) fn failed(retried: bool) -> OutputPhase {
    if retried { OutputPhase::Retrying } else { OutputPhase::Failed }
}
