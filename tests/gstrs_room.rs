//! gst-plugins-rs signalling: its original server and its original page with a bridge, and the embedded server with both.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{
    Browser, BrowserOptions, FlashAndBeep, OriginalGstrsServer, Roomcast, assert_shows_flash_and_beep,
    flash_and_beep_js, free_tcp_port, library, one_at_a_time,
};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(30);
const SMALL: FlashAndBeep = FlashAndBeep { width: 320, height: 180, fps: 15, camera: true, microphone: true };

/// A producer and a consumer, made of the original's JavaScript library.
const PAGE: &str = r#"
window.__connect = (signalingServerUrl) =>
  new Promise((resolve) => {
    const webrtcConfig = { iceServers: [] };
    window.__api = new GstWebRTCAPI({ meta: { name: "cam" }, signalingServerUrl, reconnectionTimeout: 500, webrtcConfig });
    __api.registerConnectionListener({ connected: (id) => resolve(id), disconnected: () => { window.__gone = true; } });
  });
window.__produce = async () => {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
  window.__producer = __api.createProducerSession(stream);
  __producer.start();
};
window.__consume = () => {
  const [producer] = __api.getAvailableProducers();
  if (!producer) return null;
  const session = (window.__consumer = __api.createConsumerSession(producer.id));
  const video = document.createElement("video");
  session.addEventListener("streamsChanged", () => {
    video.muted = true;
    video.srcObject = session.streams[0];
    video.play();
  });
  document.body.append(video);
  session.connect();
  window.__frames = () => video.getVideoPlaybackQuality().totalVideoFrames;
  return producer.meta.name;
};
"#;

/// Starts a browser with the original's library on a page of an HTTP server. The page's own content plays no part.
async fn page(base: &str) -> Browser {
    let library = library("gstwebrtc-api/dist/gstwebrtc-api-3.0.0.min.js");
    let before_load = format!("{};\n{library};\n{PAGE}", flash_and_beep_js(SMALL));
    let page = Browser::start_with(BrowserOptions { before_load, ..BrowserOptions::default() }).await;
    page.goto(&format!("{base}/healthz")).await;
    page
}

/// Becomes a producer; returns the id.
async fn produce(page: &Browser, url: &str) -> String {
    let id = page.eval(&format!("__connect({})", json!(url))).await;
    page.eval("__produce()").await;
    id.as_str().unwrap_or_else(|| panic!("no id: {id}")).to_owned()
}

/// Waits until sound and picture of somebody have begun.
async fn media_of(bridge: &mut Roomcast, id: &str) {
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let event = bridge.wait_event("track_started", SOON).await;
        assert_eq!(event["participant"], id, "{event}");
        kinds.push(event["kind"].to_string());
    }
    assert_ne!(kinds[0], kinds[1]);
}

fn bridge(room: &str, recording: &str) -> Roomcast {
    Roomcast::start(["bridge", room, "--size", "320x180", "-o", recording])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_of_the_original_server_is_recorded_whoever_comes_first() {
    let _turn = one_at_a_time().await;
    let (_pages, base) = Roomcast::serve(&["--no-bridges"]).await;
    let port = free_tcp_port();
    let _server = OriginalGstrsServer::start(port).await;
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("call.mkv").to_string_lossy().into_owned();
    let room = format!("gstrs+ws://127.0.0.1:{port}/?producer=cam");
    let mut first = bridge(&room, &recording);
    first.wait_event("joined", SOON).await;

    let page = page(&base).await;
    let url = format!("ws://127.0.0.1:{port}");
    let id = produce(&page, &url).await;
    media_of(&mut first, &id).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    // A producer that stops is no participant any more, and one again when it goes on.
    page.eval("__producer.close()").await;
    let left = first.wait_event("participant_left", SOON).await;
    assert_eq!(left["participant"], json!(id));
    page.eval("__produce()").await;
    media_of(&mut first, &id).await;
    assert!(first.terminate(SOON).await.success(), "{}", first.log());
    assert_shows_flash_and_beep(&recording).await;

    let later = directory.path().join("later.mkv").to_string_lossy().into_owned();
    let mut second = bridge(&room, &later);
    media_of(&mut second, &id).await;
    assert!(second.terminate(SOON).await.success(), "{}", second.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_server_joins_producers_and_consumers_and_comes_back() {
    let _turn = one_at_a_time().await;
    let port = free_tcp_port();
    let mut server = Roomcast::serve_on(port, &["--no-bridges"]).await;
    let (base, url) = (format!("http://127.0.0.1:{port}"), format!("ws://127.0.0.1:{port}/gstrs/hall"));
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("call.mkv").to_string_lossy().into_owned();
    let room = format!("gstrs+{url}");
    let page = page(&base).await;
    let first = produce(&page, &url).await;
    let mut bridge = bridge(&room, &recording);
    assert_eq!(bridge.wait_event("joined", SOON).await["room"], "hall");
    media_of(&mut bridge, &first).await;

    // The page reconnects by itself, but its producer session ends with the connection.
    server.kill().await;
    bridge.wait_event("reconnecting", SOON).await;
    page.wait_for("__gone", SOON).await;
    let _server = Roomcast::serve_on(port, &["--no-bridges"]).await;
    bridge.wait_event("joined", SOON).await;
    page.goto(&format!("{base}/healthz")).await;
    let second = produce(&page, &url).await;
    media_of(&mut bridge, &second).await;
    let events = bridge.events();
    let left: Vec<&Value> = events.iter().filter(|event| event["event"] == "participant_left").collect();
    assert_eq!(left.len(), 1, "nobody stays twice: {left:#?}");
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());

    // A producer of ours for the page as a consumer.
    page.goto(&format!("{base}/healthz")).await;
    let mut publisher =
        Roomcast::start(["publish", &format!("{room}2?id=pattern"), "--size", "320x180", "--fps", "15"]);
    publisher.wait_event("joined", SOON).await;
    page.eval(&format!("__connect({})", json!(format!("{url}2")))).await;
    assert_eq!(page.wait_for("__consume()", SOON).await, "pattern");
    page.wait_for("__frames() > 30", SOON).await;
}
