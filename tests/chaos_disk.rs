//! Disks that are too slow for what is recorded, and disks that are full.
//!
//! Seen to fail: with `PATIENCE` of half a second in `output/recording/part.rs` the short freeze loses pictures; without `MediaLost` in
//! `bridge/room/telling.rs` nobody hears of the long one; without `--prune` the recording ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::{LoopDisk, Roomcast, Scene, assert_whole, probe};
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(40);

/// What a recording that is written slowly is written by, where no disk can be frozen.
const SLOW: &str = "identity sleep-time=60000 ! filesink";

fn events(bridge: &Roomcast, name: &str) -> Vec<Value> {
    bridge.events().into_iter().filter(|event| event["event"] == name).collect()
}

/// Access units of each kind in a file that decodes without a fault.
async fn units(path: &str) -> [u64; 2] {
    let report = probe(path, &[]).await;
    ["video", "audio"].map(|kind| {
        let streams = report["streams"].as_array().unwrap();
        let stream =
            streams.iter().find(|stream| stream["kind"] == kind).unwrap_or_else(|| panic!("{path}: {report:#}"));
        assert_eq!((&stream["decode_errors"], &stream["regressions"]), (&0.into(), &0.into()), "{path}: {report:#}");
        stream["frames"].as_u64().unwrap()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stops_for_a_moment_loses_nothing_and_for_longer_says_what() {
    let scene = Scene::start().await;
    let disk = LoopDisk::new();
    let (slow, good) = (disk.path("call.mkv"), scene.path("good.mkv"));
    let slow = slow.to_str().unwrap();
    let pipelines = scene.path("pipelines");
    if !disk.is_mounted() {
        std::fs::create_dir(&pipelines).unwrap();
        let text = include_str!("../pipelines/mkv.launch").replace("filesink", SLOW);
        std::fs::write(Path::new(&pipelines).join("mkv.launch"), text).unwrap();
    }
    let replaced = ["--pipelines", &pipelines];
    // Copies of what is sent, which costs little: what is missing is missing because of the disk.
    let good_output = if disk.is_mounted() { good.clone() } else { good.replace("mkv", "mp4") };
    let arguments = if disk.is_mounted() { &[] } else { &replaced[..] };
    let arguments: Vec<_> = arguments.iter().copied().chain(["--disk-floor", "0"]).collect();
    let (mut bridge, wall) = scene.bridge(&[slow, &good_output], &arguments).await;
    for _ in 0..2 {
        bridge.wait_event("output_ready", SOON).await;
    }
    if disk.is_mounted() {
        disk.freeze(true);
        sleep(Duration::from_secs(3)).await;
        disk.freeze(false);
        for _ in 0..2 {
            bridge.wait_event("stats", SOON).await;
        }
        assert!(events(&bridge, "media_lost").is_empty(), "{:#?}", events(&bridge, "media_lost"));
        disk.freeze(true);
    }
    let lost = bridge.wait_event("media_lost", SOON).await;
    assert_eq!(lost["output"], slow, "{lost}");
    bridge.wait_event("media_lost", SOON).await;
    if disk.is_mounted() {
        disk.freeze(false);
        // So much that it is seen to go on.
        sleep(Duration::from_secs(4)).await;
    }
    let end = wall.now();
    let ended = bridge.terminate(SOON).await;
    let lost = events(&bridge, "media_lost");
    let told: u64 = lost.iter().map(|event| event["units"].as_u64().unwrap()).sum();
    assert_eq!(lost.last().unwrap()["total"], told, "{lost:#?}");
    assert!(lost.iter().all(|event| event["output"] == slow), "the other one loses nothing: {lost:#?}");
    assert_whole(&good_output, end, &bridge).await;
    if disk.is_mounted() {
        assert!(ended.success(), "{ended}: {:#?}\n{}", events(&bridge, "verified"), bridge.log());
        let (whole, left) = (units(&good).await, units(slow).await);
        let missing: u64 = whole.iter().zip(&left).map(|(whole, left)| whole - left).sum();
        eprintln!("told to be lost: {told}; {left:?} of {whole:?} are there, {missing} are not");
        // The two files begin and end within a moment of each other.
        assert!(told.abs_diff(missing) <= 20, "{told} against {missing}");
    }
}

/// A small file system of memory.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "roomcast-test"]).arg(directory.path());
        let mounted = command.output().unwrap_or_else(|error| panic!("mount: {error}: apt-get install mount"));
        let said = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "a full disk needs a small file system, which only root may mount: {said}");
        Self(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0.path()).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_complete_parts_make_room_for_new_ones_and_nothing_else_does() {
    let scene = Scene::start().await;
    let disk = SmallDisk::mount("6M");
    let directory = disk.0.path();
    std::fs::write(directory.join("foreign.mkv"), vec![0; 500_000]).unwrap();
    let output = format!("{}/call.mkv?split=2s&thumbs=1s", directory.display());
    let arguments = ["--video-bitrate", "1M", "--gop", "1", "--disk-floor", "4500k", "--prune"];
    let (mut bridge, _) = scene.bridge(&[&output], &arguments).await;
    let mut pruned = Vec::new();
    for _ in 0..3 {
        pruned.push(bridge.wait_event("recording_pruned", SOON).await["file"].clone());
    }
    assert!(bridge.terminate(SOON).await.success(), "{:#?}", bridge.events());
    let finished = events(&bridge, "part_finished");
    let finished: Vec<_> = finished.iter().map(|event| event["file"].clone()).collect();
    assert_eq!(pruned, finished[..3], "the oldest go first");
    assert!(events(&bridge, "output_failed").is_empty(), "{:#?}", bridge.events());
    for file in &pruned {
        assert!(!Path::new(file.as_str().unwrap()).exists(), "{file}");
    }
    assert!(!directory.join("call.0001.jpg").exists(), "its pictures go with it");
    assert!(Path::new(finished.last().unwrap().as_str().unwrap()).exists(), "{finished:?}");
    assert_eq!(std::fs::metadata(directory.join("foreign.mkv")).unwrap().len(), 500_000, "it is not ours");
}

/// A file that nobody has written to for an hour, as far as one can see.
fn age(path: &str) {
    let past = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options().append(true).open(path).unwrap().set_modified(past).unwrap();
}

/// Seen to fail without `writers::has_none` in `session/prune.rs`: what the stopped bridge writes is deleted as well. When only complete parts may go,
/// as before, nothing is.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_bridge_has_left_makes_room_and_what_a_stopped_one_writes_stays() {
    let scene = Scene::start().await;
    let files = ["killed.mkv", "stopped.mkv", "new.mkv"].map(|name| scene.path(name));
    let [killed, stopped, new] = files.each_ref().map(String::as_str);
    let fresh = scene.path("fresh.mkv");
    let manifests = ["killed", "stopped", "fresh", "new"].map(|name| scene.path(&format!("{name}.session.json")));
    let small = ["--fps", "15", "--verify", "never", "--disk-floor", "0"];
    let mut earlier = Vec::new();
    for (file, manifest) in [killed, stopped, fresh.as_str()].into_iter().zip(&manifests) {
        let arguments: Vec<_> = small.into_iter().chain(["--manifest", manifest]).collect();
        let (mut bridge, _) = scene.bridge(&[file], &arguments).await;
        bridge.wait_event("output_ready", SOON).await;
        earlier.push(bridge);
    }
    let stopped_process = Pid::from_raw(earlier[1].id().try_into().unwrap()).unwrap();
    kill_process(stopped_process, Signal::STOP).unwrap();
    earlier[0].kill().await;
    earlier[2].kill().await;
    age(killed);
    age(stopped);
    // No disk has so much: everything that may go goes.
    let arguments =
        ["--fps", "15", "--verify", "never", "--disk-floor", "900000G", "--prune", "--manifest", &manifests[3]];
    let (mut bridge, _) = scene.bridge(&[new], &arguments).await;
    let pruned = bridge.wait_event("recording_pruned", SOON).await;
    assert_eq!(pruned["file"], json!(killed), "{pruned}");
    let failed = bridge.wait_event("output_failed", SOON).await;
    assert!(failed["error"].as_str().unwrap().contains("--disk-floor"), "{failed}");
    bridge.terminate(SOON).await;
    assert_eq!(events(&bridge, "recording_pruned").len(), 1, "{:#?}", bridge.events());
    let left = [killed, stopped, &fresh, new].map(|file| Path::new(file).exists());
    assert_eq!(left, [false, true, true, true], "what was killed, what is stopped, what was just written, what is new");
    kill_process(stopped_process, Signal::CONT).unwrap();
    assert!(earlier[1].terminate(SOON).await.success(), "{}", earlier[1].log());
    units(stopped).await;
}
