//! A day of media in less than an hour: everything a bridge does for one participant, on a clock that runs many times as fast as
//! time. `make soak` runs it.
//!
//! ```text
//! cargo run --release --example long_day -- [HOURS] [RATE]
//! ```
//!
//! It fails when memory, descriptors, threads or what waits anywhere grows, when a stream jumps or loses something, and when a
//! recording is not as long as the time that passed. It begins an hour before the clock reference of MPEG-TS wraps, and
//! RTP timestamps wrap on the way.

#![allow(clippy::print_stdout, reason = "a program that talks to people")]

#[path = "../tests/support/long_day/mod.rs"]
mod long_day;

use std::time::Duration;

use long_day::{Failure, Plan};

fn main() -> Result<(), Failure> {
    roomcast::memory::limit_heaps()?;
    tokio::runtime::Runtime::new()?.block_on(run())
}

async fn run() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u32>());
    let hours = arguments.next().transpose()?.unwrap_or(24);
    let rate = arguments.next().transpose()?.unwrap_or(20);
    let length = Duration::from_secs(3600) * hours;
    let plan = Plan {
        begin: Duration::from_secs(24 * 3600 + 1800),
        length,
        rate,
        sample: (length / 8).min(Duration::from_secs(3600)),
        split: "50m",
    };
    println!("{hours} hours, {rate} times as fast as time");
    long_day::live(plan).await?.judge()
}
