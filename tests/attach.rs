//! Outputs that come and go while the room runs: the call and the other outputs do not notice.

#![allow(clippy::unwrap_used, reason = "a test that fails here has failed")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Roomcast, assert_flawless, one_at_a_time, probe};

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
