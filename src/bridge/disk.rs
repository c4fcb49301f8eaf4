//! The disks that recordings are written to: how long they will last, and when to stop.
//!
//! A full disk damages more than a recording: at a floor, recordings are ended while there is still room for their end, and
//! everything live goes on.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::session::prune;

/// The rate at which a disk fills is measured over this time: whoever else writes to it counts as well.
const WINDOW: Duration = Duration::from_secs(60);

/// A rate that was measured for less than this says nothing.
const FIRST_FORECAST: Duration = Duration::from_secs(10);

/// One disk at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DiskState {
    /// The directory that is written to.
    pub directory: PathBuf,
    /// Bytes that can still be written.
    pub free: u64,
    /// Seconds until the floor is reached if it goes on like this; `None` while that is not known, or when the disk does not
    /// fill.
    pub seconds_left: Option<f64>,
}

/// What was seen of each disk in the last minute.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    seen: BTreeMap<PathBuf, VecDeque<(Instant, u64)>>,
}

impl Disks {
    /// Looks at the disk of a directory. A directory that cannot be looked at is no disk that could be full.
    pub(crate) fn look(&mut self, directory: &Path, floor: u64) -> Option<DiskState> {
        let free = match free_bytes(directory) {
            Ok(free) => free,
            Err(error) => {
                tracing::debug!(directory = %directory.display(), %error, "its free space is not known");
                return None;
            }
        };
        let seen = self.seen.entry(directory.to_owned()).or_default();
        let seconds_left = forecast(seen, Instant::now(), free, floor);
        Some(DiskState { directory: directory.to_owned(), free, seconds_left })
    }
}

/// An earlier recording that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pruned {
    pub(crate) file: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) start: jiff::Timestamp,
}

/// Deletes earlier recordings, the oldest first, until a disk has more free bytes than `floor`. May take seconds.
pub(crate) fn make_room(directory: &Path, own: Option<&Path>, floor: u64) -> Vec<Pruned> {
    let mut pruned = Vec::new();
    for earlier in prune::earlier(directory, own) {
        if !free_bytes(directory).is_ok_and(|free| free < floor) {
            break;
        }
        match earlier.delete() {
            Ok(bytes) => pruned.push(Pruned { file: earlier.file, bytes, start: earlier.start }),
            Err(error) => tracing::warn!(file = %earlier.file.display(), %error, "could not be deleted"),
        }
    }
    pruned
}

/// Bytes that an ordinary user can still write to the disk of a directory.
fn free_bytes(directory: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Takes in a further look, and says how many seconds are left.
fn forecast(seen: &mut VecDeque<(Instant, u64)>, now: Instant, free: u64, floor: u64) -> Option<f64> {
    seen.push_back((now, free));
    while seen.front().is_some_and(|(then, _)| now.duration_since(*then) > WINDOW) {
        seen.pop_front();
    }
    let (then, before) = *seen.front()?;
    let time = now.duration_since(then);
    let written = before.checked_sub(free).filter(|written| *written > 0 && time >= FIRST_FORECAST)?;
    #[expect(clippy::cast_precision_loss, reason = "a forecast")]
    let left = free.saturating_sub(floor) as f64 / written as f64;
    Some(left * time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_last_minutes_rate_down_to_the_floor() {
        let (mut seen, start) = (VecDeque::new(), Instant::now());
        let mut look = |second: u64, free: u64| forecast(&mut seen, start + Duration::from_secs(second), free, 500);
        assert_eq!(look(0, 10_000), None);
        assert_eq!(look(5, 9_900), None, "too early to say");
        assert_eq!(look(20, 9_600), Some(455.0), "20 a second, and 9100 down to the floor");
        assert_eq!(look(60, 400), Some(0.0), "below the floor");
        assert_eq!(look(121, 10_400), None, "it was emptied");
    }

    #[test]
    fn a_directory_that_is_not_there_is_no_full_disk() {
        assert_eq!(Disks::default().look(Path::new("/nowhere/at/all"), 0), None);
        assert!(Disks::default().look(Path::new("/"), 0).is_some());
    }
}
