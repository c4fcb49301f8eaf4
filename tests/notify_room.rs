//! A bridge in notify calls of the embedded server, with a real browser as the other side.

mod support;

use std::time::Duration;

use support::{
    Browser, BrowserOptions, FlashAndBeep, Roomcast, assert_decodes, flash_and_beep_js, free_tcp_port, one_at_a_time,
};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(30);
const SMALL: FlashAndBeep = FlashAndBeep { width: 320, height: 180, fps: 15, camera: true, microphone: true };

/// A browser with the other side's page. The page itself is empty: any of the server's own origin will do.
async fn page(base: &str) -> Browser {
    let before_load = flash_and_beep_js(SMALL) + include_str!("support/notify_page.js");
    let page = Browser::start_with(BrowserOptions { before_load, ..BrowserOptions::default() }).await;
    page.goto(&format!("{base}/healthz")).await;
    page
}

/// A bridge in the call, once it has joined.
async fn bridge(base: &str, output: &str) -> Roomcast {
    let room = format!("{}/call/1234", base.replace("http", "notify+ws"));
    let mut bridge = Roomcast::start(["bridge", &room, "-o", output, "--size", "320x180"]);
    let joined = bridge.wait_event("joined", SOON).await;
    assert_eq!(joined["room"], "1234");
    bridge
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_waits_for_somebody_who_comes_leaves_and_comes_back() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("call.mkv").to_string_lossy().into_owned();
    let mut bridge = bridge(&base, &recording).await;

    let page = page(&base).await;
    let early = bridge.events();
    assert!(early.iter().all(|event| event["event"] != "participant_joined"), "nobody is there: {early:#?}");
    page.eval("notify('1234', { offer: false })").await;
    bridge.wait_sound_and_picture(SOON).await;
    page.wait_for("call.state === 'connected'", SOON).await;
    for _ in 0..2 {
        bridge.wait_pictures(SOON).await;
    }
    page.eval("call.socket.close()").await;
    bridge.wait_event("participant_left", SOON).await;
    // The bridge is back on the path, and finds an offer in the queue or makes one of its own.
    bridge.wait_event("joined", SOON).await;
    page.eval("notify('1234', { offer: true })").await;
    bridge.wait_sound_and_picture(SOON).await;

    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    page.wait_for("call.closed === 1000", SOON).await;
    assert_decodes(&recording, 8.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_answers_whoever_waits_and_media_survives_a_restart_of_the_server() {
    let _turn = one_at_a_time().await;
    let port = free_tcp_port();
    let base = format!("http://127.0.0.1:{port}");
    let mut server = Roomcast::serve_on(port, &["--no-bridges"]).await;
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("call.mkv").to_string_lossy().into_owned();

    let page = page(&base).await;
    page.eval("notify('1234', { offer: true, keep: true })").await;
    page.wait_for("call.pc?.iceGatheringState === 'complete'", SOON).await;
    let mut bridge = bridge(&base, &recording).await;
    bridge.wait_sound_and_picture(SOON).await;

    server.kill().await;
    bridge.wait_event("reconnecting", SOON).await;
    let _server = Roomcast::serve_on(port, &["--no-bridges"]).await;
    bridge.wait_event("joined", SOON).await;
    // The server has no part in the media. Ten seconds of it.
    for _ in 0..2 {
        bridge.wait_pictures(SOON).await;
    }
    for event in ["participant_left", "track_stalled"] {
        assert!(bridge.events().iter().all(|happened| happened["event"] != event), "{:#?}", bridge.events());
    }
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    assert_decodes(&recording, 8.0).await;
}
