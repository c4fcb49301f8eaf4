//! GStreamer's own high-level elements as participants: `webrtcsink` as a producer in a room of gst-plugins-rs signalling,
//! `whipclientsink` as a WHIP publisher.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::time::Duration;

use support::{GstreamerSink, OriginalGstrsServer, Roomcast, assert_decodes, free_tcp_port, one_at_a_time};

/// Long enough for a busy machine: `webrtcsink` tries its encoders before it offers anything.
const SOON: Duration = Duration::from_secs(40);

/// Waits until pictures have been decoded for some seconds, and ends the bridge when the sender has gone.
async fn record(bridge: &mut Roomcast, mut sender: GstreamerSink) {
    bridge.wait_sound_and_picture(SOON).await;
    bridge.wait_event("output_ready", SOON).await;
    bridge.wait_pictures(SOON).await;
    sender.stop().await;
    bridge.wait_event("participant_left", SOON).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn webrtcsink_is_recorded_on_the_original_server_and_on_ours() {
    let _turn = one_at_a_time().await;
    let port = free_tcp_port();
    let _original = OriginalGstrsServer::start(port).await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let directory = tempfile::tempdir().unwrap();
    let original = format!("ws://127.0.0.1:{port}/");
    let ours = format!("{}/gstrs/studio", base.replace("http", "ws"));
    // By default it offers every codec that it has an encoder for.
    for (index, (url, codecs)) in [(original, "video-caps=video/x-h264"), (ours, "")].iter().enumerate() {
        let file = directory.path().join(format!("{index}.mkv")).to_string_lossy().into_owned();
        let room = format!("gstrs+{url}?producer=cam");
        let mut bridge = Roomcast::start(["bridge", &room, "--size", "320x180", "-o", &file]);
        bridge.wait_event("joined", SOON).await;
        let sender = GstreamerSink::start(&format!("webrtcsink meta=meta,name=cam signaller::uri={url} {codecs}"));
        record(&mut bridge, sender).await;
        assert_decodes(&file, 3.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whipclientsink_publishes_into_a_room() {
    let _turn = one_at_a_time().await;
    let servers = r#"{"iceServers":[]}"#;
    let (server, base) = Roomcast::serve(&["--no-bridges", "--rtc-config", servers, "--whip-token", "s3cret"]).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("call.mkv").to_string_lossy().into_owned();
    let room = format!("{}/ws?room=r", base.replace("http", "mesh+ws"));
    let mut bridge = Roomcast::start(["bridge", &room, "--size", "320x180", "-o", &file]);
    bridge.wait_event("joined", SOON).await;
    let sender = GstreamerSink::start(&format!(
        "whipclientsink signaller::whip-endpoint={base}/whip/r signaller::auth-token=s3cret"
    ));
    record(&mut bridge, sender).await;
    assert_decodes(&file, 3.0).await;
    assert!(!server.log().contains("s3cret"));
}
