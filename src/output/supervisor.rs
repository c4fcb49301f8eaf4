//! Each output's life: start, prove, run, fail, try again with growing pauses, end.
//!
//! One task per output. What happens to one never reaches another; the bridge hears of it through events.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use backon::BackoffBuilder;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::OutputError;
use super::attached::Attached;
use super::players::Play;
use super::spec::OutputSpec;
use super::streams::Streams;
use super::tail::{self, Session};
use crate::media::bus::BusEvent;
use crate::media::clock::MediaClock;
use crate::probe::Wanted;

/// Pauses between attempts grow from one second to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An output that ran this long starts again with the shortest pause when it fails.
const STEADY: Duration = Duration::from_secs(60);

/// How often an output's counters are told.
const COUNT: Duration = Duration::from_secs(1);

/// What an output tells the bridge.
#[derive(Clone, Debug)]
pub enum OutputEvent {
    /// roomcast has decoded its result as a player would.
    Ready {
        /// The output as it was asked for.
        output: String,
        /// How to play it.
        play: Play,
    },
    /// It failed and is tried again.
    Failed {
        /// The output as it was asked for.
        output: String,
        /// Why.
        error: String,
        /// When it is tried again; `None` when the bridge is ending.
        retry_in: Option<Duration>,
    },
    /// How it does, once a second.
    Counted {
        /// The output as it was asked for.
        output: String,
        /// Access units handed over since it started.
        pushed: u64,
        /// Access units lost because it was too slow.
        dropped: u64,
    },
    /// A file has its first picture, or its first sound where it has no pictures.
    FileBegan {
        /// The output as it was asked for.
        output: String,
        /// The file.
        path: PathBuf,
        /// When, on the bridge's clock: the zero of the file's own time.
        at: Duration,
    },
    /// Nothing more is written to a file that has begun.
    FileEnded {
        /// The file.
        path: PathBuf,
        /// From its first buffer to the end of its last.
        length: Duration,
        /// Whether its end was written.
        complete: bool,
    },
    /// It has ended; nothing follows.
    Ended {
        /// The output as it was asked for.
        output: String,
        /// Whether what it wrote is complete.
        complete: bool,
    },
}

/// How an output ended.
#[derive(Clone, Debug, serde::Serialize)]
pub struct OutputSummary {
    /// The output as it was asked for.
    pub output: String,
    /// Whether it worked to its end.
    pub ok: bool,
    /// Whether it was ever ready.
    pub was_ready: bool,
    /// How often it failed.
    pub failures: u32,
    /// The last error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The outputs of a bridge: each is attached, runs, and is detached or ends with the bridge.
#[derive(Debug)]
pub struct Outputs {
    session: Session,
    clock: MediaClock,
    events: mpsc::Sender<OutputEvent>,
    tasks: JoinSet<OutputSummary>,
    running: BTreeMap<String, (OutputSpec, CancellationToken)>,
    attached: usize,
}

impl Outputs {
    /// None yet. What happens to them is told through `events`.
    pub fn new(session: Session, clock: MediaClock, events: mpsc::Sender<OutputEvent>) -> Self {
        Self { session, clock, events, tasks: JoinSet::new(), running: BTreeMap::new(), attached: 0 }
    }

    /// Starts an output on these streams; the others do not notice.
    pub fn attach(&mut self, spec: OutputSpec, streams: Streams) {
        self.attached += 1;
        let stop = CancellationToken::new();
        self.running.insert(spec.to_string(), (spec.clone(), stop.clone()));
        let output = Output {
            name: format!("output-{}", self.attached),
            spec,
            session: self.session.clone(),
            clock: self.clock.clone(),
            streams,
            events: self.events.clone(),
            stop,
        };
        self.tasks.spawn(output.run());
    }

    /// Ends one output, with its end written; `Ended` follows. False when there is none of this name.
    pub fn detach(&self, output: &str) -> bool {
        let found = self.running.values().find(|(spec, _)| spec.is_called(output));
        if let Some((_, stop)) = found {
            stop.cancel();
        }
        found.is_some()
    }

    /// Forgets an output that has ended.
    pub fn ended(&mut self, output: &str) {
        self.running.remove(output);
    }

    /// Those that run, or are about to end.
    pub fn running(&self) -> impl Iterator<Item = &OutputSpec> {
        self.running.values().map(|(spec, _)| spec)
    }

    /// Ends every output, each with its end written, and waits for the slowest.
    pub async fn finish(mut self) -> Vec<OutputSummary> {
        for (_, stop) in self.running.values() {
            stop.cancel();
        }
        let mut summaries = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(summary) => summaries.push(summary),
                Err(error) => tracing::error!(%error, "an output's task failed"),
            }
        }
        summaries.sort_by(|a, b| a.output.cmp(&b.output));
        summaries
    }
}

struct Output {
    name: String,
    spec: OutputSpec,
    session: Session,
    clock: MediaClock,
    streams: Streams,
    events: mpsc::Sender<OutputEvent>,
    stop: CancellationToken,
}

impl Output {
    async fn run(self) -> OutputSummary {
        let summary = self.live().await;
        self.tell(OutputEvent::Ended { output: summary.output.clone(), complete: summary.ok }).await;
        summary
    }

    async fn live(&self) -> OutputSummary {
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
            let Err(error) = self.run_once(summary.failures, &mut summary.was_ready).await else {
                summary.ok = true;
                return summary;
            };
            if started.elapsed() > STEADY {
                pause = pauses();
            }
            summary.failures += 1;
            summary.error = Some(error.to_string());
            let retry_in = if self.stop.is_cancelled() { None } else { pause.next() };
            tracing::warn!(output = %self.spec, %error, ?retry_in, "the output failed");
            self.tell(OutputEvent::Failed { output: self.spec.to_string(), error: error.to_string(), retry_in }).await;
            let Some(retry_in) = retry_in else { return summary };
            tokio::select! {
                () = tokio::time::sleep(retry_in) => {}
                () = self.stop.cancelled() => return summary,
            }
        }
    }

    /// Runs until the bridge ends (`Ok`) or the output fails.
    async fn run_once(&self, attempt: u32, was_ready: &mut bool) -> Result<(), OutputError> {
        let sources = self.streams.sources(self.spec.tracks)?;
        let forms = tokio::select! {
            forms = sources.forms() => forms,
            // Nobody has sent yet what is to be copied: there is nothing to end.
            () = self.stop.cancelled() => return Ok(()),
        };
        let tail = tail::tail(&self.spec, &self.session, attempt)?;
        let mut attached = Attached::build(tail.template(), &self.name, &self.clock, &sources, &forms)?;
        tail.configure(&attached)?;
        if let Err(error) = attached.play().await {
            attached.abandon().await;
            return Err(error);
        }
        let file = tail.file().map(PathBuf::from);
        let (span, mut begun) = (attached.span(), false);
        let pipeline = attached.pipeline().clone();
        let wanted = Wanted { video: sources.video.is_some(), audio: sources.audio.is_some() };
        let mut proof = Some(Box::pin(async {
            // A participant whose streams are copied may be a long time in coming; the mix is always there.
            sources.first_buffer().await;
            tail.verify(&pipeline, wanted).await
        }));
        let mut count = tokio::time::interval(COUNT);
        let failure = loop {
            tokio::select! {
                () = self.stop.cancelled() => {
                    drop(proof);
                    let ended = if tail.has_end() {
                        attached.finish().await
                    } else {
                        attached.abandon().await;
                        Ok(())
                    };
                    let ended = match ended {
                        Ok(()) => tail.finish().await,
                        failed => failed,
                    };
                    self.file_ended(file, begun, span.length(), ended.is_ok()).await;
                    return ended;
                }
                at = span.begun(), if !begun => {
                    begun = true;
                    if let Some(path) = file.clone() {
                        self.tell(OutputEvent::FileBegan { output: self.spec.to_string(), path, at }).await;
                    }
                }
                Some(proven) = async { match &mut proof { Some(proof) => Some(proof.await), None => None } } => {
                    proof = None;
                    match proven {
                        Ok(play) => {
                            *was_ready = true;
                            self.tell(OutputEvent::Ready { output: self.spec.to_string(), play }).await;
                        }
                        Err(error) => break error,
                    }
                }
                event = attached.next_event() => match event {
                    Some(BusEvent::Error(fault)) => break OutputError::Pipeline(fault),
                    Some(BusEvent::Warning(fault)) => tracing::warn!(output = %self.spec, %fault),
                    Some(BusEvent::Eos) | None => break OutputError::Ended,
                },
                _ = count.tick() => {
                    let (pushed, dropped) = attached.counters();
                    self.tell(OutputEvent::Counted { output: self.spec.to_string(), pushed, dropped }).await;
                }
            }
        };
        drop(proof);
        attached.abandon().await;
        self.file_ended(file, begun, span.length(), false).await;
        Err(failure)
    }

    async fn file_ended(&self, file: Option<PathBuf>, begun: bool, length: Duration, complete: bool) {
        match file {
            Some(path) if begun => self.tell(OutputEvent::FileEnded { path, length, complete }).await,
            // A participant who never sent a picture that could be the first leaves no empty file behind.
            Some(path) if self.spec.is_instance() => drop(std::fs::remove_file(path)),
            _ => {}
        }
    }

    async fn tell(&self, event: OutputEvent) {
        // The bridge reads events until every output has ended; after that nobody needs them.
        self.events.send(event).await.ok();
    }
}
