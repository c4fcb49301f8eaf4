//! Recordings in parts, of sound alone, with pictures beside them, and of what participants send: whatever stands on the disk
//! is read by ffmpeg, and no access unit is there twice or missing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Roomcast, Scene, assert_flawless, read_with_ffmpeg};
use tokio::process::Command;
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(30);

/// The files of a directory that end so, in the order of their names.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
    files.sort();
    files
}

/// A hash of each packet of one kind, as it stands in a file.
async fn packets(file: &Path, kind: &str) -> Vec<String> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", kind, "-show_packets", "-show_data_hash", "md5", "-of", "json"]);
    let output = command.arg(file).output().await.expect("ffprobe is installed: apt-get install ffmpeg");
    assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packets = report["packets"].as_array().unwrap();
    packets.iter().map(|packet| packet["data_hash"].as_str().unwrap().to_owned()).collect()
}

/// Whether `parts` is what stands in `whole`, without anything missing, twice or in another order. Both were written at the same
/// time; one may have begun or ended a moment before the other.
fn assert_same_run(whole: &[String], parts: &[String], what: &str) {
    let from = whole.iter().position(|packet| Some(packet) == parts.first());
    let (whole, parts) = match from {
        Some(from) => (&whole[from..], parts),
        None => (whole, &parts[parts.iter().position(|packet| *packet == whole[0]).expect("one run")..]),
    };
    let common = whole.len().min(parts.len());
    for (index, (a, b)) in whole.iter().zip(parts).enumerate() {
        assert_eq!(a, b, "{what} {index} of {common} is another one");
    }
    assert!(common > 50, "{what}: {common}");
    assert!(whole.len().abs_diff(parts.len()) <= 15, "{what}: {} against {}", whole.len(), parts.len());
}

/// Decodes a file to its end without a complaint. ffmpeg puts pictures on a grid of their mean rate, and complains of its own when
/// two of them share a place on it.
async fn assert_decodes(file: &Path) -> support::Reading {
    let mut reading = read_with_ffmpeg(&[file.to_str().unwrap()], SOON).await;
    reading.errors.retain(|line| !line.contains("non monotonically increasing dts to muxer"));
    assert!(reading.success && reading.errors.is_empty(), "{}: {reading:?}", file.display());
    reading
}

async fn finished(bridge: &Roomcast, output: &str) -> Vec<Value> {
    let of = |event: &Value| event["event"] == "part_finished" && event["output"] == output;
    bridge.events().into_iter().filter(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_join_without_a_lost_frame_and_each_is_told_when_it_is_complete() {
    let scene = Scene::start().await;
    let (whole, parts) =
        (scene.path("whole.mkv"), scene.path("{room}/{time}-{index}.mkv?split=2s&thumbs=2s&thumb-width=160"));
    let (mp4, sized) = (scene.path("m.mp4?split=3s"), scene.path("s.webm?split=100k&audio=none"));
    let outputs = [&*whole, &parts, &mp4, &sized];
    let (mut bridge, _) = scene.bridge(&outputs, &["--video-bitrate", "300k"]).await;
    for _ in outputs {
        bridge.wait_event("output_ready", SOON).await;
    }
    // What flows for this long is what is looked for below.
    sleep(Duration::from_secs(8)).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());

    let room = scene.directory.path().join("r");
    for (output, found) in [(&parts, files(&room, ".mkv")), (&mp4, files(scene.directory.path(), ".mp4"))] {
        assert!(found.len() >= 3, "{found:?}\n{}", bridge.log());
        let told = finished(&bridge, output).await;
        assert_eq!(told.len(), found.len(), "{told:#?}");
        for event in &told {
            let file = PathBuf::from(event["file"].as_str().unwrap());
            assert_eq!(event["bytes"].as_u64().unwrap(), file.metadata().unwrap().len(), "{event}");
            assert!((0.0..6.0).contains(&event["duration"].as_f64().unwrap()), "{event}");
            event["start"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        }
        for kind in ["v", "a"] {
            let (mut joined, all) = (Vec::new(), packets(Path::new(&whole), kind).await);
            for file in &found {
                joined.extend(packets(file, kind).await);
            }
            assert_same_run(&all, &joined, &format!("{kind} of {output}"));
        }
        for file in &found {
            // Decoded alone: it begins with a keyframe.
            let reading = assert_decodes(file).await;
            assert!(reading.frames > 0, "{file:?}: {reading:?}");
        }
    }
    let sized = files(scene.directory.path(), ".webm");
    assert!(sized.len() >= 2, "{sized:?}");
    for file in &sized {
        assert!(file.metadata().unwrap().len() < 125_000, "{file:?}: {}", file.metadata().unwrap().len());
        assert_decodes(file).await;
    }
    let pictures = files(&room, ".jpg");
    assert!((3..=8).contains(&pictures.len()), "{pictures:?}");
    for picture in pictures {
        let bytes = std::fs::read(&picture).unwrap();
        assert!(bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9]), "{picture:?}");
        let shape = support::stream_summary(&[picture.to_str().unwrap()]).await["streams"][0].clone();
        assert_eq!((&shape["width"], &shape["height"]), (&json!(160), &json!(90)), "{shape:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_alone_goes_into_ogg_wav_and_m4a() {
    let scene = Scene::start().await;
    let outputs = ["a.ogg", "b.opus?audio=copy", "c.wav", "d.m4a"].map(|name| scene.path(name));
    let (mut bridge, _) = scene.bridge(&outputs.each_ref().map(String::as_str), &[]).await;
    for _ in &outputs {
        bridge.wait_event("output_ready", SOON).await;
    }
    sleep(Duration::from_secs(4)).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    for (output, codec) in outputs.iter().zip(["opus", "opus", "pcm_s16le", "aac"]) {
        let file = output.split('?').next().unwrap();
        let summary = support::stream_summary(&[file]).await;
        assert_eq!(summary["streams"].as_array().unwrap().len(), 1, "{summary:#}");
        assert_eq!(summary["streams"][0]["codec_name"], codec, "{summary:#}");
        let duration: f64 = summary["format"]["duration"].as_str().unwrap().parse().unwrap();
        assert!((3.5..30.0).contains(&duration), "{file}: {duration}");
        let reading = assert_decodes(Path::new(file)).await;
        assert!((reading.seconds - duration).abs() < 0.2, "{file}: {reading:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_leaves_every_part_readable() {
    let scene = Scene::start().await;
    let outputs = ["k.mkv?split=2s", "k.mp4?split=2s", "k.ogg?split=2s", "k.wav?split=2s"].map(|name| scene.path(name));
    let (mut bridge, _) = scene.bridge(&outputs.each_ref().map(String::as_str), &[]).await;
    for _ in &outputs {
        bridge.wait_event("output_ready", SOON).await;
    }
    sleep(Duration::from_millis(5500)).await;
    bridge.kill().await;
    for ending in [".mkv", ".mp4", ".ogg", ".wav"] {
        let mut found = files(scene.directory.path(), ending);
        found.retain(|file| !file.file_name().unwrap().to_str().unwrap().starts_with('.'));
        assert!(found.len() >= 3, "{found:?}");
        let mut seconds = 0.0;
        for (index, file) in found.iter().enumerate() {
            // A part that had just begun when the kill came has nothing in it yet.
            if index + 1 == found.len() && file.metadata().unwrap().len() < 20_000 {
                continue;
            }
            let reading = read_with_ffmpeg(&[file.to_str().unwrap()], SOON).await;
            assert!(reading.seconds > 0.0, "{file:?}: {reading:?}");
            seconds += reading.seconds;
        }
        // Two whole parts at least, which codecs cut into their blocks.
        assert!(seconds > 3.9, "{ending}: {seconds}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_on_when_its_participant_and_codec_change() {
    let turn = support::one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=copies", base.replace("http", "mesh+ws"));
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (mkv, mp4) =
        (format!("{}?video=copy&audio=copy", path("c.mkv")), format!("{}?video=copy&audio=copy", path("c.mp4")));
    let mut bridge = Roomcast::start(["bridge", &room, "-o", &mkv, "-o", &mp4]);
    bridge.wait_event("joined", SOON).await;
    for (codec, size) in [("vp9", "320x180"), ("h264", "192x108"), ("vp8", "320x180")] {
        let mut person = Roomcast::start(["publish", &room, "--size", size, "--fps", "15", "--codec", codec]);
        for _ in ["audio", "video"] {
            bridge.wait_event("track_started", SOON).await;
        }
        if codec == "vp9" {
            bridge.wait_event("output_ready", SOON).await;
            bridge.wait_event("output_ready", SOON).await;
        }
        sleep(Duration::from_secs(4)).await;
        assert!(person.terminate(SOON).await.success(), "{}", person.log());
        bridge.wait_event("participant_left", SOON).await;
    }
    // MP4 may not hold VP8: that output says so, with the way out, and keeps what it has.
    let refused = bridge.wait_event("output_failed", SOON).await;
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("VP8") && error.contains("MP4") && error.contains(".mkv"), "{refused}");
    bridge.terminate(SOON).await;
    for (file, codec) in
        [("c.mkv", "vp9"), ("c.part2.mkv", "h264"), ("c.part3.mkv", "vp8"), ("c.mp4", "vp9"), ("c.part2.mp4", "h264")]
    {
        let summary = support::stream_summary(&[&path(file)]).await;
        let streams = summary["streams"].as_array().unwrap();
        assert_eq!(streams.len(), 2, "{file}: {summary:#}");
        assert!(streams.iter().any(|stream| stream["codec_name"] == codec), "{file}: {summary:#}");
        let reading = assert_decodes(Path::new(&path(file))).await;
        assert!(reading.frames > 30, "{file}: {reading:?}");
    }
    drop(turn);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_file_is_told_as_well_and_a_name_stays_in_its_directory() {
    let scene = Scene::start().await;
    let mp4 = scene.path("one/{room}.mp4");
    let (mut bridge, _) = scene.bridge(&[&mp4], &[]).await;
    bridge.wait_event("output_ready", SOON).await;
    sleep(Duration::from_secs(2)).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    let told = finished(&bridge, &mp4).await;
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0]["file"], json!(scene.path("one/r.mp4")));
    assert_flawless(&scene.path("one/r.mp4"), &bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_pipeline_takes_the_place_of_ours() {
    let scene = Scene::start().await;
    let (file, directory) = (scene.path("own.mkv"), scene.path("pipelines"));
    std::fs::create_dir(&directory).unwrap();
    let ours = include_str!("../pipelines/mkv.launch");
    let theirs = ours.replace("offset-to-zero=true", "offset-to-zero=true writing-app=operator");
    assert_ne!(ours, theirs);
    std::fs::write(scene.path("pipelines/mkv.launch"), theirs).unwrap();
    let (mut bridge, _) = scene.bridge(&[&file], &["--pipelines", &directory]).await;
    bridge.wait_event("output_ready", SOON).await;
    sleep(Duration::from_secs(1)).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.windows(8).any(|window| window == b"operator"), "the operator's muxer wrote it");
    assert_flawless(&file, &bridge).await;
}

#[tokio::test]
async fn a_pipeline_that_cannot_work_is_refused_before_the_room_is_joined() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("encode-aac.launch");
    for (text, expected) in [
        ("appsrc name=input ! souphttpsrc ! appsink name=output", ":1:21: the element `souphttpsrc` is not allowed"),
        ("appsrc name=input !\naudioconvert ! appsink name=output", ":2:1: the end `encoder` is missing"),
        ("appsrc name=input ! audioconvert !\n avenc_aac name=encoder bit-rat=1 ! appsink name=output", ":2:25: "),
        ("appsrc name=input ! fdkaacenc name=encoder ! appsink name=output", "apt install gstreamer1.0-plugins-bad"),
    ] {
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
        // Nobody listens there: a bridge that went on would end with 3.
        command.args(["bridge", "mesh+ws://127.0.0.1:9/ws?room=r", "-o"]).arg(directory.path().join("a.mkv"));
        let output = command.arg("--pipelines").arg(directory.path()).kill_on_drop(true).output().await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!directory.path().join("a.mkv").exists());
    }
}
