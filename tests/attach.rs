//! Outputs that come and go while the room runs: the call and the other outputs do not notice.

#![allow(clippy::unwrap_used, reason = "a test that fails here has failed")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Roomcast, assert_flawless, even_rtp_ports, one_at_a_time, probe};

const SOON: Duration = Duration::from_secs(30);

fn stream(report: &Value, kind: &str) -> Value {
    let streams = report["streams"].as_array().unwrap();
    streams.iter().find(|stream| stream["kind"] == kind).unwrap_or_else(|| panic!("no {kind}: {report:#}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mix_that_is_attached_late_begins_with_the_present_and_leaves_a_copy_alone() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let copy = format!("{}?video=copy&audio=copy", file("copy.mkv"));
    let mut bridge = Roomcast::start(["bridge", &room, "--control", "--size", "320x180", "-o", &copy]);
    bridge.wait_event("joined", SOON).await;
    let _person = Roomcast::start(["publish", &room, "--size", "320x180", "--fps", "15"]);
    assert_eq!(bridge.wait_event("output_ready", SOON).await["output"], copy.as_str());
    bridge.wait_event("stats", SOON).await;
    let stats = bridge.wait_event("stats", SOON).await;
    assert_eq!(stats["fps"], 0.0, "nothing is mixed while nobody wants a mix: {stats:#}");
    assert_eq!(stats["participants"][0]["fps"], 0.0, "nothing is decoded while nobody wants a mix: {stats:#}");

    let attached = [("mix.mkv", 4.0), ("again.mp4", 3.0)];
    for (name, seconds) in attached {
        let output = file(name);
        bridge.command(json!({ "command": "attach", "output": output })).await;
        assert_eq!(bridge.wait_event("output_ready", SOON).await["output"], output.as_str());
        // What flows for this long is what is looked for below.
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        bridge.command(json!({ "command": "detach", "output": output })).await;
        let stopped = bridge.wait_event("output_stopped", SOON).await;
        assert_eq!((&stopped["output"], &stopped["complete"]), (&json!(output), &json!(true)));
    }

    bridge.command(json!({ "command": "detach", "output": "never.mkv" })).await;
    let refused = bridge.wait_event("output_failed", SOON).await;
    assert!(refused["error"].as_str().unwrap().contains("no such output"), "{refused}");
    bridge.command(json!({ "command": "attach", "output": copy })).await;
    let refused = bridge.wait_event("output_failed", SOON).await;
    assert!(refused["error"].as_str().unwrap().contains("is used by output"), "{refused}");

    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    for (name, seconds) in attached {
        let report = assert_flawless(&file(name), &bridge).await;
        let video = stream(&report, "video");
        let duration = video["duration"].as_f64().unwrap();
        assert!((0.8 * seconds..seconds + 8.0).contains(&duration), "{report:#}");
        assert_eq!((&video["width"], &video["codec"]), (&json!(320), &json!("h264")), "{report:#}");
    }
    let report = probe(&file("copy.mkv"), &[]).await;
    let (video, audio) = (stream(&report, "video"), stream(&report, "audio"));
    assert_eq!((&video["codec"], &audio["codec"]), (&json!("vp8"), &json!("opus")), "{report:#}");
    // A busy sender may leave out a picture, never a piece of sound.
    assert_eq!((&video["decode_errors"], &audio["gaps"]["count"]), (&json!(0), &json!(0)), "{report:#}");
}

/// Descriptors and threads of a process.
fn held(pid: u32) -> (usize, usize) {
    let count = |of: &str| std::fs::read_dir(format!("/proc/{pid}/{of}")).map_or(0, Iterator::count);
    (count("fd"), count("task"))
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_outputs_that_come_and_go_again_and_again_leave_nothing_behind_and_no_gap_in_the_one_that_stays() {
    // Each round takes as long as a playlist needs for its first segments.
    let rounds = if std::env::var_os("ROOMCAST_CHAOS").is_some() { 100 } else { 10 };
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    let directory = tempfile::tempdir().unwrap();
    let path = |name: String| directory.path().join(name).to_string_lossy().into_owned();
    let stays = path("stays.mkv".into());
    let size = ["--size", "192x108", "--fps", "15", "--video-bitrate", "100k", "--disk-floor", "0"];
    let mut bridge = Roomcast::start(["bridge", &room, "--control", "-o", &stays].into_iter().chain(size));
    bridge.wait_event("joined", SOON).await;
    let _person = Roomcast::start(["publish", &room, "--size", "192x108", "--fps", "15"]);
    bridge.wait_event("output_ready", SOON).await;

    let mut seen = Vec::new();
    for round in 0..rounds {
        let ports = even_rtp_ports(8);
        let mut outputs: Vec<_> = (0..2).map(|n| path(format!("{round}-{n}.mkv"))).collect();
        outputs.extend((0..2).map(|n| path(format!("{round}-{n}.mp4"))));
        outputs.extend((0..2).map(|n| path(format!("{round}-{n}.mkv?video=copy&audio=copy")).replace("-", "-copy-")));
        outputs.extend((0..2).map(|n| format!("hls:{}", path(format!("hls-{n}")))));
        outputs.extend((0..2).map(|n| format!("rtp://127.0.0.1:{}", ports + 4 * n)));
        for output in &outputs {
            bridge.command(json!({ "command": "attach", "output": output })).await;
        }
        for _ in &outputs {
            bridge.wait_event("output_ready", SOON).await;
        }
        for output in &outputs {
            bridge.command(json!({ "command": "detach", "output": output })).await;
        }
        for _ in &outputs {
            let stopped = bridge.wait_event("output_stopped", SOON).await;
            assert_eq!(stopped["complete"], true, "{stopped}");
        }
        seen.push(held(bridge.id()));
    }
    // Threads that were needed once may be kept for the next time: the first rounds say how many.
    let most = seen[..3].iter().fold((0, 0), |most, now| (most.0.max(now.0), most.1.max(now.1)));
    let last = seen[rounds - 1];
    assert!(last.0 <= most.0 + 3 && last.1 <= most.1 + 6, "descriptors and threads after each round: {seen:?}");
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    assert_flawless(&stays, &bridge).await;
}
