//! Whether this machine carries another bridge: what those that run really take is measured, nothing is guessed.
//!
//! Only the bridges' own processor time counts: what else runs on the machine may be gone in a moment. As long as none runs there
//! is nothing to measure, and the first one is always let in.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use crate::machine::{self, CpuTimes};

/// How often bridges are looked at.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// What a bridge takes is measured over the last seconds, this many looks; one second is too few to tell.
const LOOKS: usize = 6;
const LEAST: Duration = Duration::from_millis(1500);

/// What the bridges take of this machine, in processors.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Load {
    /// How many there are.
    processors: f64,
    /// How many of them did nothing in the last seconds.
    idle: Option<f64>,
    /// What each bridge took; `None` while that is not known yet.
    bridges: Vec<Option<f64>>,
}

/// Why another bridge was refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Busy {
    bridges: usize,
    used: f64,
    average: f64,
    allowed: f64,
    processors: f64,
    idle: Option<f64>,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bridges, used, average, allowed, processors, idle } = self;
        write!(
            f,
            "this machine cannot carry another room: {bridges} running bridges take {used:.2} of {processors:.0} processors, {average:.2} \
             each, and may take {allowed:.2}"
        )?;
        if let Some(idle) = idle {
            write!(f, " ({idle:.2} are idle)")?;
        }
        f.write_str("; try again when a room has ended, or start the server with a smaller --size or --fps, or another --cpu-limit")
    }
}

impl Load {
    /// Whether there is room for one more that takes as much as the others do on average, when all together may take `limit` (0 to
    /// 1) of the machine.
    pub(super) fn carries_another(&self, limit: f64) -> Result<(), Busy> {
        let known: Vec<f64> = self.bridges.iter().copied().flatten().collect();
        if known.is_empty() {
            return Ok(());
        }
        let average = known.iter().sum::<f64>() / known.len() as f64;
        // Those that have just begun will take as much as the others.
        let (bridges, allowed) = (self.bridges.len(), self.processors * limit);
        let used = average * bridges as f64;
        if used + average <= allowed {
            return Ok(());
        }
        Err(Busy { bridges, used, average, allowed, processors: self.processors, idle: self.idle })
    }
}

/// Watches what bridges take.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bridges: BTreeMap<u32, VecDeque<(Instant, Duration)>>,
    machine: VecDeque<CpuTimes>,
}

impl Meter {
    /// Looks at the processes of the bridges that run now.
    pub(super) fn look(&mut self, processes: impl IntoIterator<Item = u32>) {
        let mut before = std::mem::take(&mut self.bridges);
        for process in processes {
            let mut looks = before.remove(&process).unwrap_or_default();
            if let Some(time) = machine::time_of(process) {
                looks.push_back((Instant::now(), time));
            }
            shorten(&mut looks);
            self.bridges.insert(process, looks);
        }
        self.machine.extend(CpuTimes::now());
        shorten(&mut self.machine);
    }

    /// What was seen of these bridges: their processes, where they have one.
    pub(super) fn load(&self, processes: impl IntoIterator<Item = Option<u32>>) -> Load {
        let of = |process: Option<u32>| {
            let looks = self.bridges.get(&process?)?;
            let ((then, before), (now, after)) = (looks.front()?, looks.back()?);
            let time = now.duration_since(*then);
            (time >= LEAST).then(|| after.saturating_sub(*before).as_secs_f64() / time.as_secs_f64())
        };
        let idle = self.machine.front().zip(self.machine.back()).and_then(|(then, now)| now.idle_since(*then));
        let processors = std::thread::available_parallelism().map_or(1.0, |number| number.get() as f64);
        Load { processors, idle, bridges: processes.into_iter().map(of).collect() }
    }
}

fn shorten<T>(looks: &mut VecDeque<T>) {
    while looks.len() > LOOKS {
        looks.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_bridge_is_refused_when_what_the_others_take_leaves_no_room_for_it() {
        for (processors, limit, bridges, carried) in [
            (2.0, 0.9, &[][..], true),
            (2.0, 0.9, &[None, None, None], true),
            (2.0, 0.9, &[Some(0.5)], true),
            (2.0, 0.9, &[Some(0.8), Some(0.6)], false),
            (2.0, 0.9, &[Some(1.0)], false),
            (4.0, 0.9, &[Some(1.0)], true),
            (4.0, 0.9, &[Some(0.7), Some(0.7), Some(0.7), Some(0.7)], true),
            // Those that have just begun count as much as the others.
            (4.0, 0.9, &[Some(0.7), None, None, None, None], false),
            (8.0, 0.1, &[Some(0.5)], false),
            (1.0, 0.9, &[Some(0.001); 16], true),
        ] {
            let load = Load { processors, idle: None, bridges: bridges.to_vec() };
            assert_eq!(load.carries_another(limit).is_ok(), carried, "{load:?} within {limit}");
        }
    }

    #[test]
    fn a_refusal_says_what_was_measured_and_what_to_do() {
        let load = Load { processors: 2.0, idle: Some(0.05), bridges: vec![Some(0.8), Some(1.0)] };
        let text = load.carries_another(0.9).unwrap_err().to_string();
        for part in [
            "2 running bridges take 1.80 of 2 processors, 0.90 each",
            "may take 1.80",
            "0.05 are idle",
            "--size",
            "--cpu-limit",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_process_that_works_is_seen_to_work_and_one_that_is_gone_is_forgotten() {
        let me = std::process::id();
        let mut meter = Meter::default();
        meter.look([me]);
        assert_eq!(meter.load([Some(me), None]).bridges, [None, None], "one look says nothing");
        let until = Instant::now() + LEAST + Duration::from_millis(100);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        meter.look([me]);
        let load = meter.load([Some(me)]);
        assert!(load.bridges[0].unwrap() > 0.1, "{load:?}");
        meter.look([]);
        assert_eq!(meter.load([Some(me)]).bridges, [None]);
    }
}
