//! However a bridge ends, its recordings are there: complete after a clean stop, playable up to the last second after a
//! kill. And nothing is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{MeshMember, Roomcast, Scene, assert_whole, one_at_a_time, read_with_ffmpeg, time_of};
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(20);

/// The boxes at the top of an MP4, in order.
fn boxes(path: &str) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap();
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(head) = bytes.get(at..at + 8) {
        let short = u64::from(u32::from_be_bytes(head[..4].try_into().unwrap()));
        let size = match short {
            0 => (bytes.len() - at) as u64,
            1 => u64::from_be_bytes(bytes[at + 8..at + 16].try_into().unwrap()),
            size => size,
        };
        found.push(String::from_utf8_lossy(&head[4..]).into_owned());
        at += usize::try_from(size.max(8)).unwrap();
    }
    assert_eq!(at, bytes.len(), "{path}: the last box is cut off: {found:?}");
    found
}

/// Everything in a directory, hidden files too.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Processes whose parent is `parent`, or whose command line names the directory: what a run may have left.
fn processes_of(parent: u32, directory: &Path) -> Vec<String> {
    let directory = directory.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse::<u32>().ok())
        .filter(|id| *id != std::process::id())
        .filter_map(|id| {
            let command = std::fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?.replace('\0', " ");
            let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
            let child = status.lines().any(|line| line == format!("PPid:\t{parent}"));
            (child || command.contains(directory)).then(|| format!("{id} {command}"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_sigterm_every_recording_is_complete_as_long_as_the_wall_clock_and_seekable() {
    let scene = Scene::start().await;
    let files = ["call.mkv", "call.mp4", "call.webm"].map(|name| scene.path(name));
    // How they are verified is asked by tests/verify.rs; here the end is timed.
    let (mut bridge, wall) = scene.bridge(&files.each_ref().map(String::as_str), &["--verify", "never"]).await;
    for _ in &files {
        bridge.wait_event("output_ready", SOON).await;
    }
    bridge.wait_event("stats", SOON).await;
    bridge.wait_event("stats", SOON).await;
    let (id, end, asked) = (bridge.id(), wall.now(), Instant::now());
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());
    assert!(asked.elapsed() < Duration::from_secs(10), "--stop-timeout is 10 s: {:?}", asked.elapsed());
    let stopped = bridge.wait_event("stopped", SOON).await;
    assert_eq!(stopped["reason"], "asked", "{stopped}");

    for file in &files {
        let report = assert_whole(file, end, &bridge).await;
        let flashes = report["skew"]["count"].as_f64().unwrap_or(0.0);
        assert!(flashes >= end.floor() - 3.0, "{file}: {flashes} flashes in {end} s: {report:#}");
        // Seeking: ffmpeg jumps to the last two seconds by the index and decodes them.
        let from = format!("{:.1}", end - 2.0);
        let tail = read_with_ffmpeg(&["-ss", &from, file], Duration::from_secs(10)).await;
        assert_eq!(tail.errors, Vec::<String>::new(), "{file}");
        assert!((45..=75).contains(&tail.frames), "{file}: the last 2 s have {tail:?}");
    }
    let top = boxes(&files[1]);
    let position = |name: &str| top.iter().position(|found| found == name);
    assert!(position("moov").unwrap() < position("mdat").unwrap(), "{top:?}");
    assert_eq!(position("moof"), None, "{top:?}");

    assert_eq!(names(scene.directory.path()), ["call.mkv", "call.mp4", "call.webm"]);
    assert_eq!(processes_of(id, scene.directory.path()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_sigkill_at_any_moment_mkv_and_mp4_play_to_within_a_second_of_the_kill() {
    let scene = Scene::start().await;
    let mut seen = Vec::new();
    for run in 0..3 {
        let files = [format!("{run}.mkv"), format!("{run}.mp4")].map(|name| scene.path(&name));
        let (mut bridge, wall) = scene.bridge(&files.each_ref().map(String::as_str), &[]).await;
        for _ in &files {
            bridge.wait_event("output_ready", SOON).await;
        }
        // Any moment: between two chunks, two fragments, two keyframes.
        let moment = 2.0 + 4.0 * rand::random::<f64>();
        sleep(Duration::from_secs_f64((moment - wall.now()).max(0.0))).await;
        let killed = wall.now();
        bridge.kill().await;
        // On a busy machine the signal takes its time: there may be pictures up to here.
        let dead = wall.now();
        for file in &files {
            let reading = read_with_ffmpeg(&[file], Duration::from_secs(60)).await;
            // What was being written when the process died may be cut: ffmpeg may say so, but no picture is damaged.
            let damaged: Vec<_> = reading.errors.iter().filter(|line| is_decode_error(line)).collect();
            assert!(damaged.is_empty(), "{file}, killed at {killed}: {reading:?}");
            let frames = f64::from(u32::try_from(reading.frames).unwrap()) / 30.0;
            seen.push(format!("{file}: killed at {killed:.2} s, {:.2} s of {frames:.2} s play", reading.seconds));
            assert!(frames <= dead + 0.3 && reading.seconds <= dead + 0.3, "more than there was: {seen:#?}");
            assert!(killed - frames < 1.0 && killed - reading.seconds < 1.0, "{seen:#?}");
        }
    }
    eprintln!("{seen:#?}");
}

/// Whether a line of ffmpeg is about a picture or sound that could not be decoded: not about the file's missing end, nor
/// about the whole ticks in which its null output counts pictures.
fn is_decode_error(line: &str) -> bool {
    let harmless = [
        "File ended prematurely",
        "partial file",
        "Truncat",
        "EBML",
        "Invalid NAL unit size",
        "0x00 at pos",
        "[null @",
    ];
    !harmless.iter().any(|words| line.contains(words))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_ends_at_once_with_130() {
    let scene = Scene::start().await;
    let (mut bridge, _) = scene.bridge(&[&scene.path("call.mkv"), &scene.path("call.mp4")], &[]).await;
    bridge.wait_event("output_ready", SOON).await;
    bridge.wait_event("output_ready", SOON).await;
    let pid = Pid::from_raw(i32::try_from(bridge.id()).unwrap()).unwrap();
    let asked = Instant::now();
    // Two signals of one kind that arrive together count once, so these are of two kinds.
    kill_process(pid, Signal::TERM).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(bridge.ended(SOON).await.code(), Some(130), "{}", bridge.log());
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn duration_ends_the_run_and_the_report_says_what_it_was() {
    let scene = Scene::start().await;
    let (file, report) = (scene.path("call.mkv"), scene.path("report.json"));
    let rtp = format!("rtp://127.0.0.1:{}", support::even_rtp_ports(4));
    let (mut bridge, _) = scene.bridge(&[&file, &rtp], &["--duration", "4", "--report", &report]).await;
    assert_eq!(bridge.ended(SOON).await.code(), Some(0), "{}", bridge.log());
    let stopped = bridge.wait_event("stopped", SOON).await;
    assert_eq!(stopped["reason"], "duration", "{stopped}");
    assert_whole(&file, 4.0, &bridge).await;

    let report: Value = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!(report, stopped["summary"], "the report is the summary");
    assert_eq!((&report["room"], &report["participants"]), (&"r".into(), &1.into()), "{report:#}");
    assert!((report["duration"].as_f64().unwrap() - 4.0).abs() < 0.3, "{report:#}");
    // The mix runs a little longer than the recording: it starts before the room is joined.
    assert!(report["frames"].as_u64().unwrap() >= 110, "{report:#}");
    let started: jiff::Timestamp = report["started"].as_str().unwrap().parse().unwrap();
    assert!(started <= time_of(&stopped));
    let outputs = report["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), 2, "{report:#}");
    for output in outputs {
        assert_eq!((&output["ok"], &output["failures"]), (&true.into(), &0.into()), "{report:#}");
        assert_eq!(output["was_ready"], true, "{report:#}");
    }
    assert_eq!(names(scene.directory.path()), ["call.mkv", "report.json"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_when_empty_waits_for_the_last_one_to_leave() {
    let mut scene = Scene::start().await;
    let file = scene.path("call.mkv");
    let (mut bridge, wall) = scene.bridge(&[&file], &["--exit-when-empty", "2"]).await;
    bridge.wait_event("stats", SOON).await;
    assert!(wall.now() > 3.0, "with somebody in the room it goes on");
    assert!(scene.publisher.terminate(SOON).await.success(), "{}", scene.publisher.log());
    let left = wall.until(time_of(&bridge.wait_event("participant_left", SOON).await));
    assert_eq!(bridge.ended(SOON).await.code(), Some(0), "{}", bridge.log());
    let stopped = bridge.wait_event("stopped", SOON).await;
    assert_eq!(stopped["reason"], "empty", "{stopped}");
    let length = stopped["summary"]["duration"].as_f64().unwrap();
    assert!(length >= left + 1.9, "{length} s, left at {left} s");
    assert_whole(&file, length, &bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_control_the_end_of_stdin_or_the_word_stop_ends_it_and_without_it_does_not() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let _member = MeshMember::join(&base, "r", "member").await;
    let directory = tempfile::tempdir().unwrap();
    let room = format!("{}/ws?room=r", base.replace("http", "mesh+ws"));
    for word in [None, Some("{\"command\":\"dance\"}\nnonsense\n{\"command\":\"stop\"}\n")] {
        let file = directory.path().join("call.mkv");
        let args = ["bridge", &room, "--size", "320x180", "--control", "-o", file.to_str().unwrap()];
        let mut bridge = Roomcast::start(args);
        bridge.wait_event("output_ready", SOON).await;
        let mut stdin = bridge.stdin().unwrap();
        if let Some(word) = word {
            stdin.write_all(word.as_bytes()).await.unwrap();
        } else {
            drop(stdin);
        }
        assert_eq!(bridge.ended(SOON).await.code(), Some(0), "{}", bridge.log());
        assert_eq!(bridge.wait_event("stopped", SOON).await["reason"], "asked");
    }
    let file = directory.path().join("other.mkv");
    let mut bridge = Roomcast::start(["bridge", &room, "--size", "320x180", "-o", file.to_str().unwrap()]);
    bridge.wait_event("output_ready", SOON).await;
    drop(bridge.stdin());
    bridge.wait_event("stats", SOON).await;
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());
}
