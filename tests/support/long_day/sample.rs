//! What is measured each hour, and whether it grows.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use roomcast::bridge::Snapshot;
use tokio::sync::watch;

use super::clock::FastClock;
use super::readers::{self, Readers, Seen};
use super::{Failure, Plan};

/// What the allocator may keep: much less than 0.1 % of what passes in a day.
const GROWTH_KB: f64 = 16.0 * 1024.0;
/// How much later or earlier, in seconds of the machine's time, everything may arrive in the last quarter than in the first. A queue
/// that grows, or a clock that drifts by 100 ppm, is further away after a day.
const LAG: f64 = 0.05;
/// By how much the length of a recording may differ from the time that passed.
const LENGTH: f64 = 0.3;
/// Of so many packets one may be missing: at many times the speed a socket's buffer lasts for milliseconds of a busy machine.
const MISSING_ONE_IN: u64 = 1000;
/// A picture that is so old, in seconds of the fast clock, when it comes out of the encoder: soon some are dropped.
const SLOW_DOWN: f64 = 0.28;
/// The clock's rate is looked at so often, and is never less than this.
const LOOK: Duration = Duration::from_millis(900);
const LEAST_RATE: u32 = 5;
/// While a part is completed there are some more; one that stayed for each part would be many more.
const THREADS: f64 = 8.0;
/// Of seven outputs, at the rates that are used: each second of the machine's time brings a thousand more.
const WAITING: f64 = 100.0;
/// How many there are.
const RECORDINGS: usize = 3;
/// Readers in the order of the table.
const READERS: [&str; 6] = ["copy v", "copy a", "mix v", "mix a", "ts", "hls"];

/// The process and its outputs since the sample before: what there always was of what comes and goes, and medians.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Hours on the fast clock.
    hour: f64,
    /// How fast it runs.
    rate: u32,
    rss_kb: f64,
    descriptors: f64,
    threads: f64,
    tasks: f64,
    /// How old pictures were when they came out of the encoder, in seconds.
    encoder: f64,
    /// Its step down, if any.
    level: usize,
    /// Access units that wait in front of all outputs.
    waiting: f64,
    /// By how much each reader is behind.
    lags: BTreeMap<&'static str, f64>,
    /// Files of the HLS window.
    files: usize,
    /// Pictures and pieces of sound that were lost because something was too slow, since the start.
    dropped: u64,
}

impl Sample {
    /// Waits until the next sample is due, and takes it.
    pub(super) async fn take(
        plan: Plan,
        (clock, pace): (&FastClock, &mut Pace),
        readers: &Readers,
        mut snapshots: watch::Receiver<Snapshot>,
        hls: &Path,
    ) -> Self {
        let end = clock.now() + plan.sample;
        let mut looks = Vec::new();
        while clock.now() < end || looks.is_empty() {
            let left = end.saturating_sub(clock.now()) / pace.rate;
            // A bridge that has ended gives no more of them, which its owner sees.
            tokio::time::timeout(left, snapshots.changed()).await.ok();
            let snapshot = snapshots.borrow_and_update().clone();
            let encoder = snapshot.encoders.first();
            let (latency, level) = encoder.map_or((0.0, 0), |encoder| (encoder.latency, encoder.level));
            let waiting = snapshot.outputs.values().map(|output| output.waiting).sum::<u64>();
            looks.push(Look::now(latency, waiting as f64));
            pace.look(clock, latency > SLOW_DOWN || level > 0);
        }
        let snapshot = snapshots.borrow().clone();
        let pieces = (snapshot.sound_lost * 100.0).round();
        Self {
            hour: clock.now().as_secs_f64() / 3600.0,
            rate: pace.rate,
            rss_kb: median(&looks, |look| look.rss_kb),
            descriptors: least(&looks, |look| look.descriptors),
            threads: least(&looks, |look| look.threads),
            tasks: least(&looks, |look| look.tasks),
            encoder: median(&looks, |look| look.encoder),
            waiting: median(&looks, |look| look.waiting),
            level: snapshot.encoders.iter().map(|encoder| encoder.level).max().unwrap_or(0),
            lags: readers.lags(),
            files: readers::files(hls).unwrap_or(0),
            dropped: snapshot.frames_dropped
                + pieces as u64
                + snapshot.outputs.values().map(|output| output.dropped).sum::<u64>(),
        }
    }

    pub(super) fn print_head() {
        print!(
            "{:>7} {:>4} {:>8} {:>5} {:>7} {:>6} {:>5} {:>8}",
            "hour", "rate", "RSS kB", "fds", "threads", "tasks", "files", "dropped"
        );
        print!(" {:>9} {:>5} {:>7}", "encoder s", "level", "waiting");
        READERS.iter().for_each(|name| print!(" {name:>8}"));
        println!("   (how far each reader is behind, s)");
    }

    pub(super) fn print(&self) {
        let Self { hour, rate, rss_kb, descriptors, threads, tasks, files, dropped, encoder, level, waiting, .. } =
            self;
        print!(
            "{hour:>7.2} {rate:>4} {rss_kb:>8.0} {descriptors:>5.0} {threads:>7.0} {tasks:>6.0} {files:>5} {dropped:>8}"
        );
        print!(" {encoder:>9.3} {level:>5} {waiting:>7.0}");
        for name in READERS {
            print!(" {:>8.3}", self.lags.get(name).copied().unwrap_or(f64::NAN));
        }
        println!();
    }
}

/// How fast the clock runs: no faster than the machine can, or it would be a test of overload.
pub(super) struct Pace {
    rate: u32,
    most: u32,
    since: Option<Instant>,
}

impl Pace {
    pub(super) fn new(most: u32) -> Self {
        Self { rate: most, most, since: None }
    }

    fn look(&mut self, clock: &FastClock, is_too_fast: bool) {
        if self.since.is_some_and(|since| since.elapsed() < LOOK) {
            return;
        }
        self.since = Some(Instant::now());
        let rate = if is_too_fast { (self.rate * 4 / 5).max(LEAST_RATE) } else { (self.rate + 1).min(self.most) };
        if rate != self.rate {
            self.rate = rate;
            clock.set_rate(rate);
        }
    }
}

/// The process at one moment between two samples: while a file is completed there is more of everything.
struct Look {
    rss_kb: f64,
    descriptors: f64,
    threads: f64,
    tasks: f64,
    encoder: f64,
    waiting: f64,
}

impl Look {
    fn now(encoder: f64, waiting: f64) -> Self {
        Self {
            rss_kb: status("VmRSS:"),
            descriptors: std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0) as f64,
            threads: status("Threads:"),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks() as f64,
            encoder,
            waiting,
        }
    }
}

fn least<T>(of: &[T], value: impl Fn(&T) -> f64) -> f64 {
    of.iter().map(value).fold(f64::INFINITY, f64::min)
}

fn median<T>(of: &[T], value: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<_> = of.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn status(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN)
}

/// A day that is over.
#[derive(Debug)]
pub(crate) struct Day {
    plan: Plan,
    pub(super) samples: Vec<Sample>,
    pub(super) readers: BTreeMap<&'static str, Seen>,
    /// Each recording: the seconds in its files, those that passed while it was made, and how many files there are.
    pub(super) recorded: Vec<(String, f64, f64, usize)>,
    pub(super) faults: Vec<String>,
}

impl Day {
    pub(super) fn new(plan: Plan) -> Self {
        let (samples, faults) = (Vec::new(), Vec::new());
        Self { plan, samples, readers: BTreeMap::new(), recorded: Vec::new(), faults }
    }

    /// How often the timestamps that this reader sees have wrapped.
    pub(crate) fn wraps(&self, reader: &str) -> u64 {
        self.readers.get(reader).map_or(0, |seen| seen.wraps)
    }

    /// Prints what was read, and fails when something grew, was lost or has another length than the time that passed.
    pub(crate) fn judge(mut self) -> Result<(), Failure> {
        for (name, seen) in &self.readers {
            let Seen { position, packets, missing, jumps, wraps, .. } = seen;
            println!("{name}: {position:.1} s in {packets} pieces, {missing} missing, {jumps} jumps, {wraps} wraps");
            if *jumps > 0 || missing * MISSING_ONE_IN > *packets {
                self.faults.push(format!("{name}: {missing} missing, {jumps} jumps"));
            }
        }
        for reader in READERS.iter().filter(|reader| !self.readers.contains_key(*reader)) {
            self.faults.push(format!("{reader} was never read"));
        }
        for (name, length, passed, files) in &self.recorded {
            println!("{name}: {length:.3} s in {files} files, while {passed:.3} s passed");
            // What is copied has no clock of its own: it is as long as it came.
            let most = if name.starts_with("copy") { LAG * f64::from(self.plan.rate) } else { LENGTH };
            if (length - passed).abs() > most {
                self.faults.push(format!("{name}: {length:.3} s were recorded in {passed:.3} s"));
            }
        }
        if self.recorded.len() != RECORDINGS {
            self.faults.push(format!("there are {} recordings", self.recorded.len()));
        }
        self.compare("kB of memory", GROWTH_KB, |sample| sample.rss_kb);
        self.compare("descriptors", 2.0, |sample| sample.descriptors);
        self.compare("threads", THREADS, |sample| sample.threads);
        self.compare("tasks", 2.0, |sample| sample.tasks);
        self.compare("files of the HLS window", 2.0, |sample| sample.files as f64);
        let lag = LAG * f64::from(self.plan.rate);
        self.compare("seconds of age at the encoder", lag, |sample| sample.encoder);
        self.compare("access units that wait", WAITING, |sample| sample.waiting);
        for name in READERS {
            self.compare(name, lag, |sample| sample.lags.get(name).copied().unwrap_or(f64::NAN));
            self.compare(name, lag, |sample| -sample.lags.get(name).copied().unwrap_or(f64::NAN));
        }
        if self.faults.is_empty() {
            println!("nothing has grown");
            return Ok(());
        }
        Err(self.faults.join("\n").into())
    }

    /// The medians of the second and the last quarter: what is needed once, the first has taken.
    fn compare(&mut self, what: &str, most: f64, value: impl Fn(&Sample) -> f64) {
        let quarter = self.samples.len() / 4;
        let before = median(&self.samples[quarter..2 * quarter], &value);
        let after = median(&self.samples[3 * quarter..], &value);
        // Not a number is a fault too.
        let growth = after - before;
        if growth.is_nan() || growth > most {
            self.faults.push(format!("{what}: {before:.3} in the second quarter, {after:.3} in the last"));
        }
    }
}
