//! Senders that do what senders do: clocks that drift and jump, numbers that wrap, tracks that come and go, pictures of every size.
//!
//! What a participant sends is pushed into an ingest as its connection would, and watched in the mix: the mix goes on, its sound and
//! picture stay in step, and the participant's pictures are there again within a bounded time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]
#![allow(clippy::print_stderr, reason = "what was measured belongs to the output of a test")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "seconds and samples of a few seconds"
)]

mod forms;
mod material;
mod sender;
mod stage;
mod time;

use std::time::Duration;

use crate::sender::Sender;
use crate::stage::{Seen, play};

/// What still is on its way when the last packet was sent.
const AFTER: Duration = Duration::from_millis(700);
/// How much of the mix may be missing, in seconds: what a busy machine takes to start and to stop.
const MISSING: f64 = 0.3;
/// How far the mix may be in front of the clock, in seconds: by as much as the participant's lips are put in step.
const AHEAD: f64 = 0.3;

const VP8: &str = "vp8enc deadline=1 cpu-used=8 target-bitrate=200000 error-resilient=default keyframe-max-dist=30 ! rtpvp8pay picture-id-mode=2";
const SMALL: &str = "width=160,height=90,framerate=30/1";
const STEREO: &str = "rate=48000,channels=2";
const OPUS: &str = "opusenc bitrate=32000";

/// What fails is tried again with fewer at the same time: a machine that is too busy is not what is tried here.
const TRIES: usize = 3;
/// As many as a machine with two cores carries at the same time.
const TOGETHER: usize = 10;

/// One kind of sender.
#[derive(Clone)]
struct Odd {
    name: &'static str,
    sender: Sender,
}

/// What still is wrong when everything that was wrong has been tried again.
async fn faults_in_the_end(mut play_and_judge: impl AsyncFnMut() -> Vec<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for _ in 0..TRIES {
        faults = play_and_judge().await;
        if faults.is_empty() {
            break;
        }
    }
    faults
}

/// Plays them, some at the same time.
async fn play_all(all: Vec<Odd>, copied: bool) -> Vec<(&'static str, f64, Seen)> {
    let mut seen = Vec::new();
    for some in all.chunks(TOGETHER) {
        let playing: Vec<_> = some
            .iter()
            .cloned()
            .map(|Odd { name, sender }| {
                let length = sender.length().as_secs_f64();
                (name, length, tokio::spawn(play(sender, AFTER, copied)))
            })
            .collect();
        for (name, length, playing) in playing {
            seen.push((name, length, playing.await.unwrap_or_else(|error| panic!("{name}: {error}"))));
        }
    }
    seen
}

/// The mix goes on: as long as the time that passed, without a hole, and the participant was not ended.
fn mix_faults(length: f64, seen: &Seen) -> Vec<String> {
    let mut faults: Vec<String> = seen.error.iter().cloned().collect();
    for (what, (first, last, total)) in [("pictures", seen.pictures), ("sound", seen.sound)] {
        let end = length + AFTER.as_secs_f64();
        if !(end - MISSING..end + AHEAD).contains(&last) || (last - first - total).abs() > 0.1 {
            faults.push(format!(
                "the mix has {what} from {first:.3} to {last:.3} of {length:.3} s, {total:.3} s together"
            ));
        }
    }
    faults
}

/// The distance of each flash from the beep that belongs to it, in milliseconds: positive is late sound.
fn skews(flashes: &[f64], beeps: &[f64]) -> Vec<f64> {
    let nearest = |flash: f64| beeps.iter().map(|beep| beep - flash).min_by(|a, b| a.abs().total_cmp(&b.abs()));
    flashes.iter().filter_map(|flash| Some(nearest(*flash)? * 1000.0)).collect()
}
