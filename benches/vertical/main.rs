//! What the vertical path costs: CPU against a plain GStreamer pipeline, latency from a packet to a packet, and what it costs to
//! pass packets on.
//!
//! `make bench` runs it, `make bench BENCH=latency` only that part. Every figure is measured
//! black-box on this machine in this run; a figure above its limit makes the exit code 1. The load average is printed,
//! because on a busy machine latencies say more about the neighbours than about roomcast.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot be made has failed")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints its result")]

mod cpu;
mod encoded;
mod eye;
mod input;
mod latency;
mod outputs;
mod passthrough;
mod sender;
mod table;
mod whep;

/// Shared with the integration tests: the binary under test and its events.
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/support/ports.rs"]
mod ports;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/support/process.rs"]
mod process;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/support/roomcast.rs"]
mod roomcast;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use table::Table;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` only wants to know that it builds: a timed test would fail on a busy machine.
        println!("run it with `make bench`");
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-')).cloned().unwrap_or_default();
    let wanted = |part: &str| filter.is_empty() || part == filter;
    ::roomcast::media::elements::init().expect("GStreamer starts");
    let mut table = Table::default();
    if wanted("passthrough") {
        tokio::task::block_in_place(|| passthrough::measure(&mut table));
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    // The other parts share their media.
    if ["encoded", "latency", "cpu", "whep"].into_iter().any(wanted) {
        let input = Arc::new(input::Input::make(directory.path()));
        measure_media(&input, directory.path(), wanted, &mut table).await;
    }
    if wanted("copy") {
        outputs::measure_copy(directory.path(), &mut table).await;
    }
    if wanted("ten") {
        outputs::measure_ten(directory.path(), &mut table).await;
    }
    println!("{table}");
    if table.is_within_limits() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn measure_media(input: &Arc<input::Input>, directory: &Path, wanted: impl Fn(&str) -> bool, table: &mut Table) {
    if wanted("encoded") {
        encoded::measure(input, table).await;
    }
    if wanted("latency") {
        latency::measure(input, directory, table).await;
    }
    if wanted("whep") {
        whep::measure(input, table).await;
    }
    if wanted("cpu") {
        cpu::measure(input, directory, table).await;
    }
}
