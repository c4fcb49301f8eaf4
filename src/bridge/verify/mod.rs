//! Decodes each finished recording once, and says whether it is what it should be.
//!
//! Files are taken one after the other, each by a process of its own (`roomcast probe`): a decoder that breaks takes nothing
//! with it. While a call runs it has a low priority (`--background`), and unless it was asked for it waits until the machine has
//! time; `decode.rs` says when that is, `verdict.rs` what is a fault, and `report.rs` writes it down beside the files.

mod decode;
mod report;
mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::events::{Event, Record};
use crate::probe::Report;
use crate::terms::MediaKind;

pub(crate) use report::NAME as REPORT;
pub(crate) use verdict::Promise;
pub use verdict::{Announced, Fault};

/// Files that may wait for their turn; further ones are not decoded.
const MOST_WAITING: usize = 1000;

/// When nobody asked for it, the end of a bridge is held up no longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// When recordings are decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// When the machine has time for it, and for at most a minute at the end.
    #[default]
    Auto,
    /// In any case, however long it takes.
    Always,
    /// Not at all.
    Never,
}

/// How recordings are verified.
#[derive(Clone, Debug)]
pub struct Verify {
    /// When.
    pub when: When,
    /// The program whose `probe` subcommand decodes: roomcast itself.
    pub program: PathBuf,
    /// Cancelled by whoever does not want to wait any longer.
    pub skip: CancellationToken,
}

/// What came of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is what it should be.
    Ok,
    /// It is not.
    Fault,
    /// It was not decoded.
    Skipped,
}

/// One recording, decoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// The file; in `report.json` its name alone.
    pub file: PathBuf,
    /// The output as it was asked for.
    pub output: String,
    /// The room.
    pub room: String,
    /// When its first picture or sound was taken.
    pub started: Timestamp,
    /// Seconds from then to the moment when it had to end, by the clock.
    pub wall: f64,
    /// Whether its end was written.
    pub complete: bool,
    /// When it was decoded.
    pub verified: Timestamp,
    /// What came of it.
    pub verdict: Verdict,
    /// Why it was not decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// What is wrong, the gravest first.
    pub faults: Vec<Fault>,
    /// What the bridge itself said that it lost while the file was written.
    pub announced: Announced,
    /// What was decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Report>,
}

/// Seconds of sound in one access unit: 1024 samples of AAC at 48 kHz, which is longer than a packet of Opus.
const LONGEST_PIECE: f64 = 1024.0 / 48_000.0;

/// A file on its way from its first picture to its verdict.
#[derive(Clone, Debug)]
pub(crate) struct Began {
    /// The output as it was asked for.
    pub(crate) output: String,
    /// What is in it.
    pub(crate) kinds: Vec<MediaKind>,
    /// Whether it has the mix, which never pauses.
    pub(crate) steady: bool,
    /// On the bridge's clock.
    pub(crate) at: Duration,
    /// The same moment for people.
    pub(crate) started: Timestamp,
    /// What was lost before.
    pub(crate) lost: Announced,
    /// Pictures and pieces of sound that its disk was too slow for.
    pub(crate) left_out: u64,
}

#[derive(Debug)]
struct Job {
    file: PathBuf,
    /// Device and number: a file of the same name may be another one by now.
    identity: Option<(u64, u64)>,
    began: Began,
    promise: Promise,
}

/// The recordings of one bridge.
#[derive(Debug)]
pub(crate) struct Verifier {
    how: Verify,
    room: String,
    fps: f64,
    /// Places of other reports, which are not to be written over.
    taken: Vec<String>,
    open: BTreeMap<PathBuf, Began>,
    waiting: VecDeque<Job>,
    running: Option<JoinHandle<Verified>>,
    ending: CancellationToken,
    /// What is known so far.
    done: Vec<Verified>,
}

impl Verifier {
    /// None yet. `taken` are places where other reports stand.
    pub(crate) fn new(how: Verify, room: &str, fps: f64, taken: Vec<String>) -> Self {
        Self {
            how,
            room: room.to_owned(),
            fps,
            taken,
            open: BTreeMap::new(),
            waiting: VecDeque::new(),
            running: None,
            ending: CancellationToken::new(),
            done: Vec::new(),
        }
    }

    /// A file has its first picture or sound.
    pub(crate) fn began(&mut self, file: &Path, began: Began) {
        self.open.insert(file.to_owned(), began);
    }

    /// An output has told that its disk was too slow for so many pictures and pieces of sound.
    pub(crate) fn left_out(&mut self, output: &str, units: u64) {
        for began in self.open.values_mut().filter(|began| began.output == output) {
            began.left_out += units;
        }
    }

    /// Nothing more is written to a file, which had to end at `until` on the bridge's clock.
    pub(crate) fn ended(&mut self, file: &Path, until: Duration, complete: bool, lost: Announced) {
        let Some(began) = self.open.remove(file) else { return };
        // It is not told how many of them were pictures: all may have been.
        let announced = Announced {
            pictures: lost.pictures.saturating_sub(began.lost.pictures) + began.left_out,
            sound: (lost.sound - began.lost.sound).max(0.0) + began.left_out as f64 * LONGEST_PIECE,
        };
        let promise = Promise {
            kinds: began.kinds.clone(),
            steady: began.steady,
            fps: self.fps,
            wall: until.saturating_sub(began.at),
            complete,
            announced,
        };
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push_back(Job { file: file.to_owned(), identity: identity(file), began, promise });
        } else {
            tracing::warn!(file = %file.display(), "too many files wait for their verification: this one is left out");
        }
    }

    /// The next verdict. Losing this future loses nothing.
    pub(crate) async fn next(&mut self) -> Verified {
        loop {
            if self.running.is_none() {
                match self.waiting.pop_front() {
                    Some(job) => self.running = Some(self.start(job)),
                    None => std::future::pending::<()>().await,
                }
            }
            let Some(running) = &mut self.running else { continue };
            let verified = running.await;
            self.running = None;
            match verified {
                Ok(verified) => {
                    self.done.push(verified.clone());
                    report::shorten(&mut self.done);
                    return verified;
                }
                Err(error) => tracing::error!(%error, "a verification failed"),
            }
        }
    }

    fn start(&self, job: Job) -> JoinHandle<Verified> {
        let (how, room, taken, ending) = (self.how.clone(), self.room.clone(), self.taken.clone(), self.ending.clone());
        tokio::spawn(async move {
            let verified = decode::verify(&how, &room, job, &ending).await;
            decode::write_down(&verified, &taken).await;
            verified
        })
    }

    /// How many files there are still to decode.
    pub(crate) fn left(&self) -> usize {
        self.waiting.len() + usize::from(self.running.is_some())
    }

    /// No more files begin: those that have no end never get one.
    pub(crate) fn close(&mut self, now: Duration, lost: Announced) {
        for file in self.open.keys().cloned().collect::<Vec<_>>() {
            self.ended(&file, now, false, lost);
        }
        self.ending.cancel();
    }

    /// Waits for what is left, unless that takes too long for something that nobody asked for. Each verdict is told.
    pub(crate) async fn finish(mut self, events: &mpsc::Sender<Record>) -> Vec<Verified> {
        let skip = self.how.skip.clone();
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        let is_asked_for = self.how.when != When::Auto;
        while self.left() > 0 {
            tokio::select! {
                verified = self.next() => {
                    // Nobody may be left to hear it.
                    events.send(Event::Verified(Box::new(verified)).into()).await.ok();
                }
                () = &mut patience, if !is_asked_for && !skip.is_cancelled() => skip.cancel(),
            }
        }
        self.done
    }
}

fn identity(file: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(file).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}
