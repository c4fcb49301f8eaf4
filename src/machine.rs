//! How busy this machine is, and which processes make it so. Read from `/proc`; nothing here is guessed.

use std::time::Duration;

/// What all processors together have done since the machine started, in ticks of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTimes {
    total: u64,
    idle: u64,
    processors: u32,
}

impl CpuTimes {
    /// Now. `None` where there is no `/proc/stat`.
    pub fn now() -> Option<Self> {
        Self::read(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// Reads the text of `/proc/stat` (proc(5)).
    fn read(text: &str) -> Option<Self> {
        let numbers = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = numbers.split_whitespace().map_while(|word| word.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; what guests take is in user and nice already.
        let (total, idle) = (ticks.iter().take(8).sum(), ticks.get(3)? + ticks.get(4).copied().unwrap_or(0));
        let is_one =
            |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let processors = u32::try_from(text.lines().filter(is_one).count()).ok()?.max(1);
        Some(Self { total, idle, processors })
    }

    /// How many processors did nothing between an earlier moment and this one, on average. `None` when no time has passed.
    pub fn idle_since(self, earlier: Self) -> Option<f64> {
        let total = self.total.checked_sub(earlier.total).filter(|total| *total > 0)?;
        let idle = self.idle.saturating_sub(earlier.idle);
        #[expect(clippy::cast_precision_loss, reason = "a figure for a decision")]
        let part = idle as f64 / total as f64;
        Some(part.min(1.0) * f64::from(self.processors))
    }

    /// How many processors there are.
    pub fn processors(self) -> u32 {
        self.processors
    }
}

/// How much processor time a process has taken so far, its ended children not included. `None` when there is no such process.
pub fn time_of(process: u32) -> Option<Duration> {
    ticks_of(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
        .map(|ticks| Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64))
}

/// Fields 14 and 15 of `/proc/PID/stat`. The name before them, in brackets, may contain anything.
fn ticks_of(text: &str) -> Option<u64> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_processors_are_those_of_the_time_between() {
        let text =
            |user, idle| format!("cpu  {user} 0 10 {idle} 5 0 0 0 0 0\ncpu0 1 0 0 0\ncpu1 1 0 0 0\nintr 5 4\nctxt 1\n");
        let at = |user, idle| CpuTimes::read(&text(user, idle)).unwrap();
        let (start, half, busy) = (at(100, 1000), at(200, 1100), at(400, 1100));
        assert_eq!(start.processors(), 2);
        assert_eq!(half.idle_since(start), Some(1.0));
        assert_eq!(busy.idle_since(half), Some(0.0));
        assert_eq!(start.idle_since(start), None, "no time has passed");
        assert_eq!(CpuTimes::read("nonsense"), None);
    }

    #[test]
    fn a_process_of_any_name_is_measured() {
        let stat = "42 (a) (b c) R 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20 0 1 0";
        assert_eq!(ticks_of(stat), Some(150));
        assert_eq!(ticks_of("42 (x"), None);
        assert!(time_of(std::process::id()).is_some());
        assert_eq!(time_of(u32::MAX), None);
    }
}
