//! A bridge in Simple Voice rooms of the embedded server, with a real browser as the other side.

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
    let before_load = flash_and_beep_js(SMALL) + include_str!("support/simple_voice_page.js");
    let page = Browser::start_with(BrowserOptions { before_load, ..BrowserOptions::default() }).await;
    page.goto(&format!("{base}/healthz")).await;
    page
}

/// A bridge in the room, once it has joined.
async fn bridge(base: &str, output: &str) -> Roomcast {
    let room = format!("simplevoice+{base}/sv?room=r");
    let mut bridge = Roomcast::start(["bridge", &room, "-o", output, "--size", "320x180"]);
    let joined = bridge.wait_event("joined", SOON).await;
    assert_eq!(joined["room"], "r");
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
    page.eval("simpleVoice('r')").await;
    assert_eq!(page.eval("call.role").await, "second");
    let candidates = "call.pc.remoteDescription.sdp.includes('a=candidate:')";
    assert_eq!(page.eval(candidates).await, true, "there is no trickle: they must be in the offer");
    bridge.wait_sound_and_picture(SOON).await;
    bridge.wait_event("output_ready", SOON).await;
    // Nobody tells the bridge: it notices that nothing comes any more, and then waits for the ICE of its side to fail.
    page.eval("call.leave()").await;
    bridge.wait_event("joined", SOON).await;
    page.eval("simpleVoice('r')").await;
    bridge.wait_sound_and_picture(SOON).await;

    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    assert_decodes(&recording, 8.0).await;
    // The bridge has signed off: the room is free for the next two.
    page.eval("simpleVoice('r')").await;
    assert_eq!(page.eval("call.role").await, "first");
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
    page.eval("simpleVoice('r', { upload: true })").await;
    assert_eq!(page.eval("call.role").await, "first");
    let mut bridge = bridge(&base, &recording).await;
    bridge.wait_sound_and_picture(SOON).await;
    page.wait_for("call.state === 'connected'", SOON).await;
    assert_eq!(page.eval("call.pc.remoteDescription.sdp.includes('a=candidate:')").await, true);

    server.kill().await;
    let _server = Roomcast::serve_on(port, &["--no-bridges"]).await;
    // The server has no part in a call. Ten seconds of it.
    for _ in 0..2 {
        bridge.wait_pictures(SOON).await;
    }
    for event in ["track_stalled", "reconnecting"] {
        assert!(bridge.events().iter().all(|happened| happened["event"] != event), "{:#?}", bridge.events());
    }
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    assert_decodes(&recording, 8.0).await;
}
