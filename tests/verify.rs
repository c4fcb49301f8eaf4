//! Each recording is decoded once when it is finished: what is found stands in `report.json` beside it and is what `roomcast probe`
//! finds, and a fault is the exit code 5.
//!
//! With `--verify never` in the place of `always` every test here but the one about skipping failed: of the good recording no verdict
//! was told (`call.mkv: []`), the damaged ones ended with 0 in the place of 5, and no event `verifying` came within 60 s.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Roomcast, Running, Scene, probe};
use tokio::process::Command;
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(60);

/// What the report beside a recording says of it.
fn reported(file: &str) -> Value {
    let file = Path::new(file);
    let path = file.with_file_name("report.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["format"], 1, "{report:#}");
    let name = file.file_name().unwrap().to_str().unwrap();
    let found: Vec<_> = report["files"].as_array().unwrap().iter().filter(|entry| entry["file"] == name).collect();
    assert_eq!(found.len(), 1, "{name} in {report:#}");
    found[0].clone()
}

/// All verdicts that a bridge has told.
fn verdicts(bridge: &Roomcast) -> Vec<Value> {
    bridge.events().into_iter().filter(|event| event["event"] == "verified").collect()
}

/// What does not depend on when it was measured.
fn lasting(mut report: Value) -> Value {
    for stream in report["streams"].as_array_mut().unwrap() {
        stream.as_object_mut().unwrap().remove("first_frame");
    }
    json!([report["container"], report["streams"], report["skew"], report["problems"]])
}

/// A copy of our pipelines in which one text is another.
fn pipelines(scene: &Scene, name: &str, from: &str, to: &str) -> String {
    let directory = scene.path("pipelines");
    std::fs::create_dir(&directory).unwrap();
    let ours = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(name)).unwrap();
    let theirs = ours.replace(from, to);
    assert_ne!(ours, theirs);
    std::fs::write(Path::new(&directory).join(name), theirs).unwrap();
    directory
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_recording_is_verified_and_its_report_says_what_probe_says() {
    let scene = Scene::start().await;
    let outputs =
        ["call.mkv", "m.mp4?split=2s", "s.webm", "w.wav", "own/{participant}.mkv"].map(|name| scene.path(name));
    let (mut bridge, wall) = scene.bridge(&outputs.each_ref().map(String::as_str), &["--verify", "always"]).await;
    for _ in &outputs {
        bridge.wait_event("output_ready", SOON).await;
    }
    sleep(Duration::from_secs(5)).await;
    let end = wall.now();
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}\n{:#?}", bridge.log(), verdicts(&bridge));

    let told = verdicts(&bridge);
    let stopped = bridge.wait_event("stopped", SOON).await;
    assert_eq!(stopped["summary"]["recordings"].as_array().unwrap().len(), told.len(), "{stopped:#}");
    for output in &outputs[..4] {
        assert!(told.iter().any(|verified| verified["output"] == *output), "{output}: {told:#?}");
    }
    assert!(told.iter().filter(|verified| verified["output"] == *outputs[1]).count() >= 3, "each part: {told:#?}");
    assert!(told.iter().any(|verified| verified["file"] == scene.path("own/publisher.mkv")), "{told:#?}");
    for verified in &told {
        assert_eq!((&verified["verdict"], &verified["faults"]), (&"ok".into(), &json!([])), "{verified:#}");
        let file = verified["file"].as_str().unwrap();
        let entry = reported(file);
        assert_eq!(entry["probe"], verified["probe"], "{file}");
        // The same file, decoded by somebody else.
        assert_eq!(lasting(entry["probe"].clone()), lasting(probe(file, &[]).await), "{file}");
    }
    let whole = reported(&outputs[0]);
    assert!((whole["wall"].as_f64().unwrap() - end).abs() < 1.0, "{end} s: {whole:#}");
    assert!(whole["probe"]["skew"]["count"].as_u64().unwrap() >= 3, "{whole:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_are_lost_without_a_word_are_found() {
    let scene = Scene::start().await;
    let (file, sound) = (scene.path("call.mkv"), scene.path("sound.ogg"));
    // An encoder that swallows a third of the pictures: no decoder complains, nothing is counted.
    let damaged =
        pipelines(&scene, "encode-x264.launch", "x264enc name", "identity drop-probability=0.33 ! x264enc name");
    let args = ["--verify", "always", "--encoder", "x264", "--pipelines", &damaged];
    let (mut bridge, _) = scene.bridge(&[&file, &sound], &args).await;
    bridge.wait_event("output_ready", SOON).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(bridge.terminate(SOON).await.code(), Some(5), "{}", bridge.log());
    let entry = reported(&file);
    let faults: Vec<_> = entry["faults"].as_array().unwrap().iter().map(|fault| &fault["fault"]).collect();
    assert!(faults.contains(&&json!("gaps")) && faults.contains(&&json!("pictures")), "{entry:#}");
    assert_eq!((&entry["verdict"], &entry["complete"]), (&"fault".into(), &true.into()), "{entry:#}");
    assert_eq!(reported(&sound)["verdict"], "ok", "what is good is not blamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_that_is_lost_without_a_word_is_found() {
    let scene = Scene::start().await;
    let file = scene.path("call.ogg");
    let damaged =
        pipelines(&scene, "encode-opus.launch", "opusenc name", "identity drop-probability=0.2 ! opusenc name");
    let (mut bridge, _) = scene.bridge(&[&file], &["--verify", "always", "--pipelines", &damaged]).await;
    bridge.wait_event("output_ready", SOON).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(bridge.terminate(SOON).await.code(), Some(5), "{}", bridge.log());
    let entry = reported(&file);
    assert!(entry["faults"].as_array().unwrap().iter().any(|fault| fault["fault"] == "gaps"), "{entry:#}");
}

/// A roomcast of its own, whose file another program can take the place of: it is what decodes recordings.
fn own_copy(directory: &Path) -> PathBuf {
    let copy = directory.join("roomcast");
    if std::fs::hard_link(env!("CARGO_BIN_EXE_roomcast"), &copy).is_err() {
        std::fs::copy(env!("CARGO_BIN_EXE_roomcast"), &copy).unwrap();
    }
    copy
}

fn replace(program: &Path, script: &str) {
    std::fs::remove_file(program).unwrap();
    std::fs::write(program, script).unwrap();
    std::fs::set_permissions(program, PermissionsExt::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoder_that_crashes_or_hangs_takes_nothing_with_it_and_a_signal_ends_the_wait() {
    let scene = Scene::start().await;
    for (script, code, verdict, said) in [
        ("#!/bin/sh\nkill -ABRT $$\n", 5, "fault", "SIGABRT"),
        ("#!/bin/sh\nexec sleep 1000\n", 0, "skipped", "roomcast probe decodes it"),
    ] {
        let programs = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (program, file) = (own_copy(programs.path()), scene.path(&format!("{verdict}.mkv")));
        let room = scene.room();
        let args = ["bridge", &room, "--size", "320x180", "-o", &file, "--verify", "always", "--duration", "2"];
        // Another program in our place is one that a confined bridge may not start.
        let args = args.into_iter().chain(["--no-sandbox"]);
        let mut bridge = Roomcast::start_as(Command::new(&program), args);
        bridge.wait_event("joined", SOON).await;
        replace(&program, script);
        assert_eq!(bridge.wait_event("verifying", SOON).await["files"], 1);
        let asked = Instant::now();
        let ended = if code == 0 { bridge.terminate(SOON).await } else { bridge.ended(SOON).await };
        assert_eq!(ended.code(), Some(code), "{}", bridge.log());
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        let entry = reported(&file);
        assert_eq!(entry["verdict"], verdict, "{entry:#}");
        assert!(entry.to_string().contains(said), "{entry:#}");
        assert_eq!(probe(&file, &[]).await["faults"], json!([]), "the recording itself is good");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_machine_is_left_alone_unless_it_is_asked_for() {
    let scene = Scene::start().await;
    let processors = std::thread::available_parallelism().unwrap().get();
    let mut loops = Vec::new();
    for _ in 0..2 * processors {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        loops.push(Running::start(command, "sh"));
    }
    let (file, never) = (scene.path("call.ogg"), scene.path("never/call.ogg"));
    let (mut bridge, _) = scene.bridge(&[&file], &["--duration", "2"]).await;
    assert_eq!(bridge.ended(SOON).await.code(), Some(0), "{}", bridge.log());
    let entry = reported(&file);
    assert_eq!((&entry["verdict"], &entry["faults"]), (&"skipped".into(), &json!([])), "{entry:#}");
    assert!(entry["skipped"].as_str().unwrap().contains("the machine is busy"), "{entry:#}");
    drop(loops);
    let (mut bridge, _) = scene.bridge(&[&never], &["--duration", "2", "--verify", "never"]).await;
    assert_eq!(bridge.ended(SOON).await.code(), Some(0), "{}", bridge.log());
    assert!(verdicts(&bridge).is_empty() && !Path::new(&scene.path("never/report.json")).exists());
}
