//! The disk that is going to be recorded to: how long it will last, and how fast it takes what is written.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::statvfs;

use super::Check;

/// A recording by default: `bridge --video-bitrate 2M --audio-bitrate 128k`, in bytes per second.
const RECORDING: u64 = (2_000_000 + 128_000) / 8;
/// `bridge --disk-floor` by default.
const FLOOR: u64 = 500_000_000;
/// What a disk should last for one recording.
const ENOUGH: Duration = Duration::from_secs(2 * 3600);
/// Written to find out how fast the disk is.
const SAMPLE: usize = 4 << 20;
/// A disk that takes the sample slower than ten recordings come would be behind when anybody else writes.
const SLOWEST: u64 = 10 * RECORDING;

pub(super) fn checks(directory: &Path) -> [Check; 2] {
    [room(directory), speed(directory)]
}

/// How long a recording may become.
fn room(directory: &Path) -> Check {
    let name = "disk space";
    let shown = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let free = match statvfs(directory) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => return Check::limited(name, format!("{}: {error}", shown.display()), ELSEWHERE),
    };
    let lasts = lasts(free);
    let seen = format!(
        "{:.1} GB in {}: {} for one recording at 2 Mb/s, {} for ten, down to --disk-floor",
        free as f64 / 1e9,
        shown.display(),
        spoken(lasts),
        spoken(lasts / 10)
    );
    if lasts >= ENOUGH { Check::good(name, seen) } else { Check::limited(name, seen, ELSEWHERE) }
}

const ELSEWHERE: &str = "record to another directory, or let --prune delete the oldest recordings";

fn lasts(free: u64) -> Duration {
    Duration::from_secs(free.saturating_sub(FLOOR) / RECORDING)
}

fn spoken(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match (minutes / 1440, minutes / 60) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h {} min", minutes % 60),
        (days, hours) => format!("{days} d {} h", hours % 24),
    }
}

/// How fast the disk itself takes what is written.
fn speed(directory: &Path) -> Check {
    let name = "disk speed";
    let measure = || -> std::io::Result<Duration> {
        let mut file = tempfile::tempfile_in(directory)?;
        let began = Instant::now();
        file.write_all(&vec![0xa5; SAMPLE])?;
        file.sync_data()?;
        Ok(began.elapsed())
    };
    match measure() {
        Ok(time) => {
            let rate = SAMPLE as f64 / time.as_secs_f64().max(1e-6);
            let seen = format!("{:.0} MB/s with a sync, {} recordings", rate / 1e6, (rate / RECORDING as f64) as u64);
            if rate >= SLOWEST as f64 {
                Check::good(name, seen)
            } else {
                Check::limited(
                    name,
                    seen,
                    "a recording that is behind for more than some seconds loses pictures: use a faster disk",
                )
            }
        }
        Err(error) => Check::limited(
            name,
            format!("{}: {error}", directory.display()),
            "record to a directory that can be written",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn the_time_left_is_that_down_to_the_floor() {
        assert_eq!(lasts(FLOOR), Duration::ZERO);
        assert_eq!(lasts(FLOOR + 3600 * RECORDING), Duration::from_secs(3600));
        for (seconds, text) in [(59, "0 min"), (3_725, "1 h 2 min"), (90_000, "1 d 1 h")] {
            assert_eq!(spoken(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_directory_is_judged_and_one_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        for check in checks(directory.path()) {
            assert_eq!(check.remedy.is_some(), check.verdict != Verdict::Good, "{check:?}");
        }
        for check in checks(Path::new("/nowhere/at/all")) {
            assert!(check.verdict == Verdict::Limited && check.seen.contains("/nowhere/at/all"), "{check:?}");
        }
    }
}
