//! When an encoder cannot keep up there are fewer pictures, evenly spaced, then a faster preset, and no picture is old; and all again
//! when it can.
//!
//! The slow encoder is a real one that takes longer for each picture: a template with a pause in front of it.
//!
//! With `Overload::take` returning false at once both tests failed: no event `overload` within 60 s. With the encoder's patience
//! (`Patience::Encoder`) at two seconds the first failed: latencies of 2.05 to 2.10 s; the second, which is about the steps, went on.
//! With `Effort::change` returning `Ok` at once the third test failed in its last line: all steps are announced, and x264 never writes `subme=0`.

#![allow(clippy::print_stderr, reason = "what was measured belongs to the output of a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::path::Path;
use std::time::Duration;

use roomcast::machine::CpuTimes;
use serde_json::Value;
use support::{Roomcast, Scene, probe};

const SOON: Duration = Duration::from_secs(60);

/// Nothing may be older when it leaves the encoder.
const LIMIT: f64 = 0.5;

/// Our pipelines with an encoder that needs so many milliseconds more for each picture.
fn slow_encoder(scene: &Scene, milliseconds: u32) -> String {
    let directory = scene.path("pipelines");
    std::fs::create_dir(&directory).unwrap();
    let ours = include_str!("../pipelines/encode-x264.launch");
    let pause = format!("identity sleep-time={} ! x264enc name", milliseconds * 1000);
    std::fs::write(Path::new(&directory).join("encode-x264.launch"), ours.replace("x264enc name", &pause)).unwrap();
    directory
}

/// Waits for the next step, and returns its level and rate.
async fn step(bridge: &mut Roomcast) -> (u64, f64) {
    let event = bridge.wait_event("overload", SOON).await;
    (event["level"].as_u64().unwrap(), event["fps"].as_f64().unwrap())
}

/// The latencies that were told: at each step, and in every `stats` event.
fn latencies(bridge: &Roomcast) -> Vec<f64> {
    let told = bridge.events().into_iter().filter_map(|event| match event["event"].as_str() {
        Some("overload") => event["latency"].as_f64(),
        Some("stats") => event["encoders"][0]["latency"].as_f64(),
        _ => None,
    });
    let mut told: Vec<_> = told.collect();
    told.sort_by(f64::total_cmp);
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_that_is_too_slow_gets_fewer_pictures_and_none_of_them_is_old() {
    let scene = Scene::start().await;
    let before = CpuTimes::now().unwrap();
    let (file, pipelines) = (scene.path("call.mkv"), slow_encoder(&scene, 80));
    let args = ["--encoder", "x264", "--pipelines", &pipelines, "--verify", "always"];
    let (mut bridge, _) = scene.bridge(&[&file], &args).await;
    // 12 pictures a second are possible: 15 are too many, 10 are not. On a busy machine it may be fewer.
    assert_eq!(step(&mut bridge).await, (1, 15.0));
    assert_eq!(step(&mut bridge).await, (2, 10.0));
    for _ in 0..2 {
        bridge.wait_event("stats", SOON).await;
    }
    let seen = latencies(&bridge);
    assert!(seen.len() >= 4 && seen[0] > 0.05, "{seen:?}");
    // A machine that has no time for the bridge delays what is measured as well; two seconds would still be seen.
    let idle = CpuTimes::now().unwrap().idle_since(before).unwrap();
    let (median, worst) = if idle > 0.3 { (LIMIT, 2.0 * LIMIT) } else { (2.0 * LIMIT, 3.0 * LIMIT) };
    assert!(seen[seen.len() / 2] <= median && seen[seen.len() - 1] <= worst, "{seen:?}, {idle:.2} processors idle");
    eprintln!("latencies of a too slow encoder, in seconds: {seen:?}");
    // All of it was told, so nothing of it is a fault of the recording: it has fewer pictures, and its length.
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}\n{:#?}", bridge.log(), bridge.events());
    let report = probe(&file, &[]).await;
    let video = report["streams"].as_array().unwrap().iter().find(|stream| stream["kind"] == "video").unwrap();
    assert!((3.0..20.0).contains(&video["fps"].as_f64().unwrap()), "{report:#}");
    assert_eq!(video["decode_errors"], 0, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_back_up_is_tried_as_soon_as_there_is_time_and_announced() {
    let scene = Scene::start().await;
    let (file, pipelines) = (scene.path("call.mkv"), slow_encoder(&scene, 45));
    // 22 pictures a second are possible: 30 are too many, 15 are not.
    let args = ["--encoder", "x264", "--pipelines", &pipelines];
    let (mut bridge, _) = scene.bridge(&[&file], &args).await;
    assert_eq!(step(&mut bridge).await, (1, 15.0));
    let mut levels = vec![1];
    while levels.last() != Some(&0) {
        levels.push(step(&mut bridge).await.0);
        assert!(levels.len() < 10, "{levels:?}");
    }
    assert_eq!(step(&mut bridge).await.0, 1, "and it is still too slow for all of them");
    bridge.terminate(SOON).await;
    let told: Vec<Value> = bridge.events().into_iter().filter(|event| event["event"] == "overload").collect();
    assert!(told.iter().all(|event| event["encoder"] == "h264"), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_steps_take_the_fastest_preset_and_the_recording_goes_on_in_its_file() {
    let scene = Scene::start().await;
    let (file, pipelines) = (scene.path("call.mkv"), slow_encoder(&scene, 130));
    let args = ["--encoder", "x264", "--preset", "veryfast", "--pipelines", &pipelines, "--verify", "always"];
    let (mut bridge, _) = scene.bridge(&[&file], &args).await;
    // 7 pictures a second are possible, whatever the preset: 10 are too many.
    for (level, fps, preset) in
        [(1, 15.0, None), (2, 10.0, None), (3, 10.0, Some("ultrafast")), (4, 5.0, Some("ultrafast"))]
    {
        let event = bridge.wait_event("overload", SOON).await;
        let told = (event["level"].as_u64(), event["fps"].as_f64(), event["preset"].as_str());
        assert_eq!(told, (Some(level), Some(fps), preset), "{event:#}");
    }
    // Some good seconds, and it is tried with more.
    assert_eq!(step(&mut bridge).await, (3, 10.0));
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}\n{:#?}", bridge.log(), bridge.events());
    let parts = bridge.events().into_iter().filter(|event| event["event"] == "part_finished").count();
    assert_eq!(parts, 1, "{:#?}", bridge.events());
    let report = probe(&file, &[]).await;
    let video = report["streams"].as_array().unwrap().iter().find(|stream| stream["kind"] == "video").unwrap();
    assert_eq!(video["decode_errors"], 0, "{report:#}");
    // x264 says in its first picture how it was set; that of the preset before came before the recording.
    let (bytes, words) = (std::fs::read(&file).unwrap(), b"subme=0");
    assert!(bytes.windows(words.len()).any(|window| window == words), "{}", bridge.log());
}
