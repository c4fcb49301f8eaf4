//! Who reads the outputs all day: RTP and MPEG-TS receivers, and a player of the HLS window.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::Failure;
use super::clock::FastClock;

/// Between two timestamps there is never more than this: a gap, or a wrap that was taken for a jump, is longer.
const LONGEST_STEP: f64 = 60.0;

/// What a reader has seen. Times are in seconds of the fast clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// How far the stream's own time has come, unwrapped, from its first timestamp on.
    pub(super) position: f64,
    /// When the first came.
    began: Option<f64>,
    /// Packets, those that are missing, and timestamps that jumped.
    pub(super) packets: u64,
    pub(super) missing: u64,
    pub(super) jumps: u64,
    /// How often the timestamps wrapped.
    pub(super) wraps: u64,
    /// By how much each arrival was behind its own time, since it was last asked; to the first.
    lags: Vec<f64>,
    last: Option<(u16, u64)>,
}

impl Seen {
    /// One timestamp of so many ticks a second and so many bits, and a sequence number where there is one.
    fn take(&mut self, now: f64, ticks: u64, (rate, bits): (f64, u32), number: u16, counts: bool) {
        let began = *self.began.get_or_insert(now);
        if let Some((last_number, last)) = self.last {
            let modulus = 1_u64 << bits;
            let ahead = ticks.wrapping_sub(last) % modulus;
            // Half of all timestamps are older.
            let step = if ahead < modulus / 2 { ahead as f64 } else { ahead as f64 - modulus as f64 } / rate;
            if ahead < modulus / 2 && ticks < last {
                self.wraps += 1;
            }
            self.jumps += u64::from(step.abs() > LONGEST_STEP);
            self.position += step;
            if counts {
                self.missing += u64::from(number.wrapping_sub(last_number).wrapping_sub(1));
            }
        }
        self.last = Some((number, ticks));
        self.packets += 1;
        self.lags.push(now - began - self.position);
    }

    /// The median of what came since the last call; it begins anew.
    fn lag(&mut self) -> Option<f64> {
        let mut lags = std::mem::take(&mut self.lags);
        lags.sort_by(f64::total_cmp);
        lags.get(lags.len() / 2).copied()
    }
}

/// All readers, by their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Readers(Arc<Mutex<BTreeMap<&'static str, Seen>>>);

impl Readers {
    pub(super) fn all(&self) -> MutexGuard<'_, BTreeMap<&'static str, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By how much each stream is behind its own time since the last call.
    pub(super) fn lags(&self) -> BTreeMap<&'static str, f64> {
        self.all().iter_mut().filter_map(|(name, seen)| Some((*name, seen.lag()?))).collect()
    }

    fn take(&self, name: &'static str, take: impl FnOnce(&mut Seen)) {
        take(self.all().entry(name).or_default());
    }
}

/// Reads RTP of one clock rate.
pub(super) async fn rtp(name: &'static str, socket: UdpSocket, rate: f64, clock: FastClock, readers: Readers) {
    let mut buffer = [0; 2048];
    while let Ok(length) = socket.recv(&mut buffer).await {
        let now = clock.now().as_secs_f64();
        let Some(&[_, _, high, low, a, b, c, d]) = buffer[..length].first_chunk::<8>() else { continue };
        let (number, ticks) = (u16::from_be_bytes([high, low]), u32::from_be_bytes([a, b, c, d]));
        readers.take(name, |seen| seen.take(now, ticks.into(), (rate, 32), number, true));
    }
}

/// Reads the clock reference of MPEG-TS (ISO/IEC 13818-1, section 2.4.3.5).
pub(super) async fn ts(name: &'static str, socket: UdpSocket, clock: FastClock, readers: Readers) {
    let mut buffer = [0; 2048];
    while let Ok(length) = socket.recv(&mut buffer).await {
        let now = clock.now().as_secs_f64();
        for packet in buffer[..length].chunks_exact(188) {
            let has_reference = packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x10 != 0;
            if has_reference {
                let high = u32::from_be_bytes([packet[6], packet[7], packet[8], packet[9]]);
                let reference = u64::from(high) << 1 | u64::from(packet[10] >> 7);
                readers.take(name, |seen| seen.take(now, reference, (90_000.0, 33), 0, false));
            }
        }
    }
}

/// Reads the playlist as long as it lives: every segment once.
pub(super) async fn hls(name: &'static str, playlist: PathBuf, clock: FastClock, readers: Readers) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let mut next = None;
    loop {
        tick.tick().await;
        let Ok(text) = tokio::fs::read_to_string(&playlist).await else { continue };
        let now = clock.now().as_secs_f64();
        let (mut number, mut length) = (0_u64, 0.0);
        for line in text.lines() {
            if let Some(first) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
                number = first.parse().unwrap_or(0);
            } else if let Some(seconds) = line.strip_prefix("#EXTINF:") {
                length = seconds.trim_end_matches(',').parse().unwrap_or(0.0);
            } else if !line.starts_with('#') && !line.is_empty() {
                let awaited = *next.get_or_insert(number);
                if number >= awaited {
                    next = Some(number + 1);
                    readers.take(name, |seen| {
                        let began = *seen.began.get_or_insert(now);
                        // Its length counts from the second segment on: the first arrival is the beginning.
                        if seen.packets > 0 {
                            seen.position += length;
                        }
                        seen.missing += number - awaited;
                        seen.packets += 1;
                        seen.lags.push(now - began - seen.position);
                    });
                }
                number += 1;
            }
        }
    }
}

/// How many files there are.
pub(super) fn files(directory: &Path) -> Result<usize, Failure> {
    Ok(std::fs::read_dir(directory)?.count())
}
