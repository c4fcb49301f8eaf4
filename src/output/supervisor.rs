//! Each output's life: start, prove, run, fail, try again with growing pauses, end.
//!
//! One task per output. What happens to one never reaches another; the bridge hears of it through events.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use backon::BackoffBuilder;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::OutputError;
use super::attached::Attached;
use super::events::{OutputEvent, OutputSummary};
use super::recording::{self, Reel};
use super::spec::{Destination, OutputSpec, Stream, Tracks};
use super::stall::{self, Stall};
use super::streams::Streams;
use super::tail::{self, Session};
use crate::media::bus::BusEvent;
use crate::media::clock::MediaClock;
use crate::probe::Wanted;

/// Pauses between attempts grow from one second to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A participant is asked for keyframes at most this often.
const MOST_KEYFRAMES: Duration = Duration::from_secs(1);

/// An output that ran this long starts again with the shortest pause when it fails.
const STEADY: Duration = Duration::from_secs(60);

/// The outputs of a bridge: each is attached, runs, and is detached or ends with the bridge.
#[derive(Debug)]
pub struct Outputs {
    session: Session,
    clock: MediaClock,
    events: mpsc::Sender<OutputEvent>,
    tasks: JoinSet<OutputSummary>,
    running: BTreeMap<String, Running>,
    attached: usize,
}

/// The owner's end of an output.
#[derive(Debug)]
struct Running {
    spec: OutputSpec,
    stop: CancellationToken,
    /// Why it is ended before its time, if it is.
    ended_because: Arc<OnceLock<String>>,
}

impl Outputs {
    /// None yet. What happens to them is told through `events`.
    pub fn new(session: Session, clock: MediaClock, events: mpsc::Sender<OutputEvent>) -> Self {
        Self { session, clock, events, tasks: JoinSet::new(), running: BTreeMap::new(), attached: 0 }
    }

    /// Starts an output on these streams; the others do not notice.
    pub fn attach(&mut self, spec: OutputSpec, streams: Streams) {
        self.attached += 1;
        let (stop, ended_because) = (CancellationToken::new(), Arc::default());
        let running = Running { spec: spec.clone(), stop: stop.clone(), ended_because: Arc::clone(&ended_because) };
        self.running.insert(spec.to_string(), running);
        let output = Output {
            name: format!("output-{}", self.attached),
            spec,
            session: self.session.clone(),
            clock: self.clock.clone(),
            streams,
            events: self.events.clone(),
            stop,
            ended_because,
        };
        self.tasks.spawn(output.run());
    }

    /// Ends one output, with its end written; `Ended` follows. False when there is none of this name.
    pub fn detach(&self, output: &str) -> bool {
        let found = self.running.values().find(|running| running.spec.is_called(output));
        if let Some(running) = found {
            running.stop.cancel();
        }
        found.is_some()
    }

    /// An output takes other streams from now on.
    pub fn takes(&mut self, output: &str, tracks: Tracks) {
        if let Some(running) = self.running.get_mut(output) {
            running.spec.tracks = tracks;
        }
    }

    /// Ends an output before its time, with its end written: it counts as failed. False when it is ending already.
    pub fn end(&self, spec: &OutputSpec, reason: &str) -> bool {
        let running = self.running.get(&spec.to_string()).filter(|running| !running.stop.is_cancelled());
        if let Some(running) = running {
            // Set once: it is not ending yet.
            running.ended_because.set(reason.to_owned()).ok();
            running.stop.cancel();
        }
        running.is_some()
    }

    /// Forgets an output that has ended.
    pub fn ended(&mut self, output: &str) {
        self.running.remove(output);
    }

    /// Those that run, or are about to end.
    pub fn running(&self) -> impl Iterator<Item = &OutputSpec> {
        self.running.values().map(|running| &running.spec)
    }

    /// Ends every output, each with its end written, and waits for the slowest, but no longer than this: one that takes longer has
    /// failed.
    pub async fn finish(mut self, within: Duration) -> Vec<OutputSummary> {
        for running in self.running.values() {
            running.stop.cancel();
        }
        let deadline = tokio::time::Instant::now() + within;
        let mut summaries = Vec::new();
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.tasks.join_next()).await {
            match ended {
                Ok(summary) => summaries.push(summary),
                Err(error) => tracing::error!(%error, "an output's task failed"),
            }
        }
        for running in self.running.values() {
            let output = running.spec.to_string();
            if !summaries.iter().any(|summary| summary.output == output) {
                let error = format!("it did not end in {within:?}: --stop-timeout gives it more");
                tracing::error!(output, error);
                summaries.push(OutputSummary { output, ok: false, was_ready: false, failures: 1, error: Some(error) });
            }
        }
        summaries.sort_by(|a, b| a.output.cmp(&b.output));
        summaries
    }
}

/// One output, for all its attempts.
pub(super) struct Output {
    name: String,
    pub(super) spec: OutputSpec,
    pub(super) session: Session,
    pub(super) clock: MediaClock,
    pub(super) streams: Streams,
    events: mpsc::Sender<OutputEvent>,
    pub(super) stop: CancellationToken,
    ended_because: Arc<OnceLock<String>>,
}

impl Output {
    async fn run(mut self) -> OutputSummary {
        let mut reel = Reel::default();
        let mut summary = self.live(&mut reel).await;
        if let Err(error) = reel.complete(&self).await {
            (summary.ok, summary.error) = (false, Some(error.to_string()));
        }
        self.tell(OutputEvent::Ended { output: summary.output.clone(), complete: summary.ok }).await;
        if let Some(reason) = self.ended_because.get() {
            summary.ok = false;
            summary.error = Some(reason.clone());
        }
        summary
    }

    async fn live(&mut self, reel: &mut Reel) -> OutputSummary {
        let output = self.spec.to_string();
        let mut summary = OutputSummary { output, ok: false, was_ready: false, failures: 0, error: None };
        let pauses = || {
            backon::ExponentialBuilder::default()
                .with_min_delay(Duration::from_secs(1))
                .with_max_delay(LONGEST_PAUSE)
                .with_factor(2.0)
                .with_jitter()
                .without_max_times()
                .build()
        };
        let mut pause = pauses();
        loop {
            let started = Instant::now();
            let Err(error) = self.run_once(summary.failures, reel, &mut summary.was_ready).await else {
                summary.ok = true;
                return summary;
            };
            if let Some(tracks) = self.spec.otherwise(&error)
                && self.change_to(tracks).await
            {
                tracing::info!(output = %self.spec, %error, "the output is fed with another codec");
                continue;
            }
            if started.elapsed() > STEADY {
                pause = pauses();
            }
            summary.failures += 1;
            let at_least = error.retry_after().unwrap_or_default();
            // GStreamer's words may have the whole address in them.
            let error = self.spec.scrub(error);
            summary.error = Some(error.clone());
            let retry_in = if self.stop.is_cancelled() { None } else { pause.next().map(|pause| pause.max(at_least)) };
            tracing::warn!(output = %self.spec, %error, ?retry_in, "the output failed");
            self.tell(OutputEvent::Failed { output: self.spec.to_string(), error, retry_in }).await;
            let Some(retry_in) = retry_in else { return summary };
            tokio::select! {
                () = tokio::time::sleep(retry_in) => {}
                () = self.stop.cancelled() => return summary,
            }
        }
    }

    /// Asks for other streams. False when there are none.
    async fn change_to(&mut self, tracks: Tracks) -> bool {
        let (streams, mut made) = mpsc::channel(1);
        self.tell(OutputEvent::Wants { output: self.spec.to_string(), tracks, streams }).await;
        tokio::select! {
            made = made.recv() => match made {
                Some(streams) => {
                    (self.streams, self.spec.tracks) = (streams, tracks);
                    true
                }
                None => false,
            },
            () = self.stop.cancelled() => false,
        }
    }

    /// Runs until the bridge ends (`Ok`) or the output fails.
    async fn run_once(&self, attempt: u32, reel: &mut Reel, was_ready: &mut bool) -> Result<(), OutputError> {
        let spec = &self.spec;
        let sources = self.streams.sources(spec)?;
        let forms = tokio::select! {
            forms = sources.forms() => forms,
            // Nobody has sent yet what is to be copied: there is nothing to end.
            () = self.stop.cancelled() => return Ok(()),
        };
        if let Destination::File(file) = &spec.destination {
            return recording::run(self, file, sources, forms, reel, was_ready).await;
        }
        let Some(tail) = tail::tail(spec, &self.session, &self.streams, attempt)? else { return Ok(()) };
        tail.accept(&forms)?;
        let mut attached =
            Attached::build((tail.template(), tail.patience()), &self.name, &self.clock, &sources, &forms)?;
        tail.configure(&attached)?;
        if let Err(error) = attached.play().await {
            attached.abandon().await;
            return Err(tail.explain(error));
        }
        let pipeline = attached.pipeline().clone();
        let wanted = Wanted { video: self.spec.tracks.video.is_some(), audio: self.spec.tracks.audio.is_some() };
        let mut tending = Box::pin(tail.tend(&pipeline));
        let mut proof = Some(Box::pin(async {
            // A participant whose streams are copied may be a long time in coming; the mix is always there.
            sources.first_buffer().await;
            tail.verify(&pipeline, wanted).await
        }));
        let copied = sources.video.as_ref().filter(|_| spec.tracks.video.is_some_and(Stream::is_copied));
        let starved = copied.filter(|_| tail.asks_for_keyframes());
        let mut keyframes = tokio::time::interval(self.session.gop.max(MOST_KEYFRAMES));
        let mut stall = Stall::default();
        let mut count = tokio::time::interval(stall::TICK);
        let failure = loop {
            tokio::select! {
                () = self.stop.cancelled() => {
                    drop((proof, tending));
                    attached.end(tail.has_end()).await.map_err(|error| tail.explain(error))?;
                    return tail.finish().await;
                }
                Some(proven) = async { match &mut proof { Some(proof) => Some(proof.await), None => None } } => {
                    proof = None;
                    match proven {
                        Ok(play) => {
                            *was_ready = true;
                            self.tell(OutputEvent::Ready { output: spec.to_string(), play }).await;
                        }
                        Err(error) => break error,
                    }
                }
                error = tail.failed() => break error,
                error = &mut tending, if proof.is_none() => break error,
                event = attached.next_event() => match event {
                    Some(BusEvent::Error(fault)) => break OutputError::Pipeline(fault),
                    Some(BusEvent::Warning(fault)) => tracing::warn!(output = %spec, fault = spec.scrub(fault)),
                    Some(BusEvent::Eos) | None => break OutputError::Ended,
                },
                _ = keyframes.tick(), if starved.is_some() => {
                    starved.into_iter().for_each(|video| video.request_keyframe(self.clock.running_time()));
                }
                _ = count.tick() => {
                    let ((pushed, dropped), (sent, lost)) = (attached.counters(), tail.counters());
                    let (pushed, dropped) = (pushed + sent, dropped + lost);
                    let (output, waiting) = (spec.to_string(), attached.waiting());
                    self.tell(OutputEvent::Counted { output, pushed, dropped, waiting }).await;
                    if stall.after(attached.flows()) {
                        break OutputError::Stalled(stall::LIMIT);
                    }
                }
            }
        };
        drop((proof, tending));
        attached.abandon().await;
        Err(tail.explain(failure))
    }

    pub(super) async fn tell(&self, event: OutputEvent) {
        // The bridge reads events until every output has ended; after that nobody needs them.
        self.events.send(event).await.ok();
    }
}
