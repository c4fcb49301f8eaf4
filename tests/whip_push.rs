//! A mix that is pushed to WHIP endpoints: our own server's, and one on aiortc.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::time::Duration;

use support::{AiortcEndpoint, Roomcast, assert_flawless, assert_shows_flash_and_beep, free_tcp_port, one_at_a_time};

const SOON: Duration = Duration::from_secs(30);
const TOKEN: &str = "s3cret-of-the-endpoint";

/// A server without STUN, everything is on loopback, whose WHIP endpoints want the token.
async fn server(port: u16) -> Roomcast {
    let args = ["--no-bridges", "--rtc-config", r#"{"iceServers":[]}"#, "--whip-token", TOKEN];
    Roomcast::serve_on(port, &args).await
}

/// A room with somebody in it who flashes and beeps.
struct Stage {
    port: u16,
    _server: Roomcast,
    _person: Roomcast,
    directory: tempfile::TempDir,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl Stage {
    async fn start() -> Self {
        let turn = one_at_a_time().await;
        let port = free_tcp_port();
        let server = server(port).await;
        let directory = tempfile::tempdir().unwrap();
        let room = room(port, "stage");
        let mut person = Roomcast::start(["publish", &room, "--size", "320x180", "--fps", "15"]);
        person.wait_event("joined", SOON).await;
        Self { port, _server: server, _person: person, directory, _turn: turn }
    }

    /// A bridge that pushes the room to these.
    fn push(&self, outputs: &[&str]) -> Roomcast {
        let room = room(self.port, "stage");
        let outputs = outputs.iter().flat_map(|output| ["-o", output]);
        // Further keyframes only when somebody asks.
        let args = ["bridge", &room, "--size", "320x180", "--fps", "15", "--gop", "60"];
        Roomcast::start(args.into_iter().chain(outputs))
    }
}

fn room(port: u16, name: &str) -> String {
    format!("mesh+ws://127.0.0.1:{port}/ws?room={name}")
}

fn never_shows_the_token(bridge: &Roomcast) {
    assert!(!format!("{}{:?}", bridge.log(), bridge.events()).contains(TOKEN), "{}", bridge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mix_goes_into_another_room_and_a_late_viewer_gets_a_keyframe() {
    let stage = Stage::start().await;
    let endpoint = format!("http://127.0.0.1:{}/whip/elsewhere", stage.port);
    let mut pusher = stage.push(&[&format!("whip+{endpoint}?token={TOKEN}")]);
    let ready = pusher.wait_event("output_ready", SOON).await;
    assert_eq!(ready["play"]["url"], endpoint);

    // Whoever comes now missed the first keyframe; the next one that is due is a minute away.
    let file = stage.directory.path().join("call.mkv").to_string_lossy().into_owned();
    let elsewhere = room(stage.port, "elsewhere");
    let mut recorder = Roomcast::start(["bridge", &elsewhere, "-o", &file, "--size", "320x180", "--fps", "15"]);
    recorder.wait_sound_and_picture(SOON).await;
    let pictures = async {
        recorder.wait_pictures(SOON).await;
        recorder.wait_pictures(SOON).await;
    };
    tokio::time::timeout(SOON, pictures).await.expect("a keyframe comes because it was asked for");
    assert!(pusher.terminate(SOON).await.success(), "{}", pusher.log());
    // The session was deleted, not left to time out.
    let left = recorder.wait_event("participant_left", Duration::from_secs(3)).await;
    assert_eq!(left["reason"], "hung up", "{left}");
    assert!(recorder.terminate(SOON).await.success(), "{}", recorder.log());
    never_shows_the_token(&pusher);
    assert_flawless(&file, &recorder).await;
    assert_shows_flash_and_beep(&file).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aiortc_decodes_the_mix_in_the_codec_that_it_takes() {
    let stage = Stage::start().await;
    let mut h264 = AiortcEndpoint::start(TOKEN, "H264").await;
    let mut vp8 = AiortcEndpoint::start(TOKEN, "VP8").await;
    // The second refuses the first offer.
    let outputs = [format!("whip+{}/whip?token={TOKEN}", h264.base), format!("whip+{}/whip?token={TOKEN}", vp8.base)];
    let mut pusher = stage.push(&outputs.each_ref().map(String::as_str));
    for _ in &outputs {
        pusher.wait_event("output_ready", SOON).await;
    }
    for endpoint in [&mut h264, &mut vp8] {
        let decoded = endpoint.decoded(|now| now.frames >= 60 && now.flashes >= 3 && now.loud >= 3).await;
        assert_eq!(decoded.errors, 0, "{decoded:?}");
    }
    assert!(!pusher.events().iter().any(|event| event["event"] == "output_failed"), "{:#?}", pusher.events());
    assert!(pusher.terminate(SOON).await.success(), "{}", pusher.log());
    for endpoint in [&mut h264, &mut vp8] {
        endpoint.wait_for("deleted").await;
    }
    never_shows_the_token(&pusher);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_refuses_or_goes_away_fails_its_output_alone() {
    let stage = Stage::start().await;
    let port = free_tcp_port();
    let mut endpoint = server(port).await;
    let outputs = [
        format!("whip+http://127.0.0.1:{port}/whip/a?token={TOKEN}"),
        format!("whip+http://127.0.0.1:{port}/whip/b?token={TOKEN}-not"),
        stage.directory.path().join("call.mkv").to_string_lossy().into_owned(),
    ];
    let mut pusher = stage.push(&outputs.each_ref().map(String::as_str));
    let refused = pusher.wait_event("output_failed", SOON).await;
    assert!(refused["output"].as_str().unwrap().contains("/whip/b"), "{refused}");
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("HTTP 401") && error.contains("bearer token that it expects with token="), "{error}");
    assert!(refused["retry_in"].as_f64().unwrap() > 0.0, "{refused}");
    let good = |event: &serde_json::Value| event["output"].as_str().is_some_and(|name| name.contains("/whip/a"));
    while !good(&pusher.wait_event("output_ready", SOON).await) {}

    endpoint.kill().await;
    let lost = loop {
        let failed = pusher.wait_event("output_failed", SOON).await;
        if good(&failed) {
            break failed;
        }
    };
    assert!(lost["error"].as_str().unwrap().starts_with("no media gets to whip+http://"), "{lost}");
    let _again = server(port).await;
    while !good(&pusher.wait_event("output_ready", SOON).await) {}
    assert_eq!(pusher.terminate(SOON).await.code(), Some(4), "{}", pusher.log());
    never_shows_the_token(&pusher);
    assert_flawless(&outputs[2], &pusher).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_participant_publishes_by_whip() {
    let stage = Stage::start().await;
    let file = stage.directory.path().join("call.mkv").to_string_lossy().into_owned();
    let elsewhere = room(stage.port, "elsewhere");
    let mut recorder = Roomcast::start(["bridge", &elsewhere, "-o", &file, "--size", "320x180", "--fps", "15"]);
    recorder.wait_event("joined", SOON).await;
    let endpoint = format!("whip+http://127.0.0.1:{}/whip/elsewhere?token={TOKEN}", stage.port);
    let mut person = Roomcast::start(["publish", &endpoint, "--size", "320x180", "--fps", "15"]);
    recorder.wait_sound_and_picture(SOON).await;
    recorder.wait_pictures(SOON).await;
    assert!(person.terminate(SOON).await.success(), "{}", person.log());
    assert!(recorder.terminate(SOON).await.success(), "{}", recorder.log());
    assert_flawless(&file, &recorder).await;
    // Nothing can be taken from an endpoint, and a room that is pushed into itself would never end.
    let itself = format!("whip+http://127.0.0.1:{}/whip/stage?token={TOKEN}", stage.port);
    for mut refused in [Roomcast::start(["bridge", &endpoint, "-o", &file]), stage.push(&[&itself])] {
        assert_eq!(refused.ended(SOON).await.code(), Some(2), "{}", refused.log());
    }
}
