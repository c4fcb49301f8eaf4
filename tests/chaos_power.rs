//! A power cut while recordings grow: what the disk has by then, and nothing else, is what is left.
//!
//! The disk is a file system in a file (a loop device): whatever is not in that file at the moment of the cut was only in memory.
//! Where no loop device may be used, and beside it where it may, files are cut down to what the bridge knows to be synced.
//!
//! Seen to fail: without `Syncing` (`EVERY` of an hour) the files are there by name, and empty.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use support::{LoopDisk, Roomcast, one_at_a_time, packets_end, read_with_ffmpeg};
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(40);

/// What a power cut may cost, in seconds.
const LOST: f64 = 5.0;

/// What is recorded.
const FILES: [&str; 3] = ["call.mkv", "call.mp4", "sound.ogg"];

/// What the bridge says about its syncs.
fn said(bridge: &Roomcast) -> impl Iterator<Item = Value> {
    let log = bridge.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.map(|line| line["fields"].clone()).filter(|said| said["bytes"].is_u64()).collect::<Vec<_>>().into_iter()
}

/// How many bytes of a file the bridge has last said to be on the disk.
fn synced(bridge: &Roomcast, file: &Path) -> Option<u64> {
    said(bridge).filter(|said| said["path"] == *file.to_str().unwrap()).last()?["bytes"].as_u64()
}

/// Asserts that what is left lacks little of what was recorded until a moment. Says how much.
async fn assert_little_lost(directory: &Path, cut: Timestamp) -> Vec<f64> {
    let session: Value =
        serde_json::from_str(&std::fs::read_to_string(directory.join("session.json")).unwrap()).expect("whole JSON");
    let began: Timestamp = session["started"].as_str().unwrap().parse().unwrap();
    let mut losses = Vec::new();
    for name in FILES {
        let mixes = session["mixes"].as_array().unwrap();
        let part = mixes.iter().find(|part| part["path"] == name).unwrap_or_else(|| panic!("{name}: {session:#}"));
        let end = packets_end(&directory.join(name)).await;
        let lost = cut.duration_since(began).as_secs_f64() - part["offset"].as_f64().unwrap() - end;
        assert!(lost <= LOST, "{name} in {}: {lost} s are lost, {end} s are left", directory.display());
        losses.push(lost);
    }
    losses
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_takes_five_seconds_of_a_recording_at_most() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=r", base.replace("http", "mesh+ws"));
    let disk = LoopDisk::new();
    let _person = Roomcast::start(["publish", &room, "--size", "320x180", "--fps", "15"]);
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.env("RUST_LOG", "warn,roomcast::durable=trace");
    let paths = FILES.map(|name| disk.path(name).to_str().unwrap().to_owned());
    let manifest = disk.path("session.json").to_str().unwrap().to_owned();
    let mut arguments = vec!["bridge", &room, "--size", "320x180", "--fps", "15", "--manifest", &manifest];
    arguments.extend(["--log-format", "json", "--disk-floor", "0"]);
    arguments.extend(paths.iter().flat_map(|path| ["-o", path]));
    let mut bridge = Roomcast::start_as(command, arguments);
    for _ in FILES {
        bridge.wait_event("output_ready", SOON).await;
    }
    let mut cuts = Vec::new();
    for number in 0..3 {
        // So long that all of it would be lost, and then at any moment between two syncs.
        sleep(Duration::from_secs_f64(if number == 0 { 6.0 } else { 1.0 } + 2.0 * rand::random::<f64>())).await;
        let known = disk.beside(&format!("known{number}"));
        std::fs::create_dir(&known).unwrap();
        let cut = Timestamp::now();
        for name in FILES {
            let bytes = synced(&bridge, &disk.path(name)).unwrap_or(0);
            std::fs::copy(disk.path(name), known.join(name)).unwrap();
            std::fs::OpenOptions::new().write(true).open(known.join(name)).unwrap().set_len(bytes).unwrap();
        }
        std::fs::copy(disk.path("session.json"), known.join("session.json")).unwrap();
        cuts.push((cut, known, disk.cut(number)));
    }
    bridge.wait_event("stats", SOON).await;
    assert!(bridge.terminate(SOON).await.success(), "{:#?}\n{}", bridge.events(), bridge.log());
    let mut waits = said(&bridge).filter_map(|said| said["seconds"].as_f64()).collect::<Vec<_>>();
    waits.sort_by(f64::total_cmp);
    eprintln!("{} syncs: {:.4} s each, {:.4} s at most", waits.len(), waits[waits.len() / 2], waits[waits.len() - 1]);
    for (cut, known, found) in cuts {
        let losses = assert_little_lost(&known, cut).await;
        eprintln!("synced by what the bridge says: {losses:.2?} s lost of {FILES:?}");
        let Some(found) = found else { continue };
        let losses = assert_little_lost(&found, cut).await;
        eprintln!("found on the disk: {losses:.2?} s lost of {FILES:?}");
        let repair = Roomcast::start(["repair", found.to_str().unwrap(), "--force"]).ended(SOON).await;
        assert!(repair.success());
        for name in FILES {
            let mut reading = read_with_ffmpeg(&[found.join(name).to_str().unwrap()], SOON).await;
            // ffmpeg's own null muxer says so where the last block of sound is not whole; `repair` leaves Ogg as it is.
            reading.errors.retain(|line| !line.contains("non monotonically increasing dts to muxer"));
            assert!(reading.success && (reading.errors.is_empty() || name.ends_with("ogg")), "{name}: {reading:?}");
        }
    }
}
