//! Bridges in rooms and calls of GStreamer's text protocol, with people and programs that were written from its specification:
//! a page in Chromium, GStreamer's own webrtcbin and a simple server in Python.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::time::Duration;

use roomcast::signaling::{Event, JoinOptions, OfferRole, Session, join};
use roomcast::terms::ParticipantId;
use support::{
    Browser, BrowserOptions, FlashAndBeep, Roomcast, SimpleServer, WebrtcbinPeer, assert_flawless, flash_and_beep_js,
    one_at_a_time, probe,
};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);
const SMALL: FlashAndBeep = FlashAndBeep { width: 320, height: 180, fps: 15, camera: true, microphone: true };
const PAGE: &str = include_str!("support/gstreamer_page.js");

/// A browser on a page of the server, with a camera, that can speak the protocol.
async fn page(base: &str) -> Browser {
    let before_load = flash_and_beep_js(SMALL) + PAGE;
    let page = Browser::start_with(BrowserOptions { before_load, ..BrowserOptions::default() }).await;
    page.goto(base).await;
    page
}

/// Has the page speak the protocol, and waits until it is where it wants to be.
async fn enter(page: &Browser, base: &str, options: &str, state: &str) {
    let url = base.replace("http", "ws") + "/gst";
    page.eval(&format!("(window.me = gstPeer('{url}', {options})).state")).await;
    page.wait_for(&format!("me.error ? Promise.reject(me.error) : me.state === '{state}'"), SOON).await;
}

fn bridge(base: &str, rest: &str, output: &str) -> Roomcast {
    let room = format!("{}/gst{rest}", base.replace("http", "gst+ws"));
    Roomcast::start(["bridge", &room, "--size", "320x180", "-o", output])
}

/// Waits for the first packets of somebody's sound and picture.
async fn media_of(bridge: &mut Roomcast, participant: &str) {
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let event = bridge.wait_event("track_started", SOON).await;
        assert_eq!(event["participant"], participant, "{event}");
        kinds.push(event["kind"].clone());
    }
    assert_ne!(kinds[0], kinds[1], "sound and picture");
}

/// Records for so long, then stops, and finds nothing wrong with the recording.
async fn record(bridge: &mut Roomcast, output: &str, seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    assert_flawless(output, bridge).await;
}

/// Records for so long, then stops, and finds that sound and picture decode. Gaps are not looked for: programs that start
/// meanwhile may take the processor away, which is no matter of the room.
async fn record_decodable(bridge: &mut Roomcast, output: &str, seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    let report = probe(output, &[]).await;
    for kind in ["audio", "video"] {
        let stream = report["streams"].as_array().unwrap().iter().find(|stream| stream["kind"] == kind).unwrap();
        assert_eq!((&stream["decode_errors"], &stream["regressions"]), (&0.into(), &0.into()), "{report:#}");
        assert!(stream["duration"].as_f64().unwrap() > seconds as f64, "{report:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_and_a_bridge_meet_in_a_room_whoever_comes_first_and_outlive_the_server() {
    let _turn = one_at_a_time().await;
    let (mut server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();

    let page = page(&base).await;
    enter(&page, &base, "{ id: 'page', room: 'demo' }", "room").await;
    let first = path("page-first.mkv");
    let mut late = bridge(&base, "/demo", &first);
    media_of(&mut late, "page").await;
    record(&mut late, &first, 2).await;
    page.wait_for("me.peers.size === 0", SOON).await;
    page.eval("me.close()").await;

    let second = path("bridge-first.mkv");
    let mut bridge = bridge(&base, "/demo?id=bridge", &second);
    bridge.wait_event("joined", SOON).await;
    enter(&page, &base, "{ id: 'page', room: 'demo' }", "room").await;
    media_of(&mut bridge, "page").await;
    tokio::time::sleep(Duration::from_secs(10)).await;

    page.eval("me.close()").await;
    assert_eq!(bridge.wait_event("participant_left", SOON).await["participant"], "page");
    enter(&page, &base, "{ id: 'page', room: 'demo' }", "room").await;
    media_of(&mut bridge, "page").await;

    // The server dies and comes back; the call needs neither.
    server.kill().await;
    bridge.wait_event("reconnecting", SOON).await;
    let port = base.rsplit_once(':').unwrap().1.parse().unwrap();
    let _server = Roomcast::serve_on(port, &["--no-bridges"]).await;
    bridge.wait_event("joined", SOON).await;
    enter(&page, &base, "{ id: 'page', room: 'demo', peers: me.peers }", "room").await;
    page.wait_for("me.said.some((text) => /^ROOM_(OK|PEER_JOINED) bridge$/.test(text))", SOON).await;
    let told = bridge.events().iter().filter(|event| event["event"] == "stats").count();
    for _ in 0..=told {
        bridge.wait_event("stats", SOON).await;
    }
    let events = bridge.events();
    let left = events.iter().filter(|event| event["event"] == "participant_left").count();
    assert_eq!(left, 1, "nobody left while the server was away: {events:#?}");
    let present = &events.iter().rfind(|event| event["event"] == "stats").unwrap()["participants"];
    assert_eq!((&present[0]["participant"], &present[1]), (&"page".into(), &serde_json::Value::Null), "{present:#}");
    assert!(present[0]["fps"].as_f64().unwrap() > 0.0, "the call went on: {present:#}");
    record(&mut bridge, &second, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_calls_a_bridge_that_waits_and_a_bridge_calls_a_page() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let page = page(&base).await;

    let output = path("called.mkv");
    let mut waiting = bridge(&base, "/?id=bridge", &output);
    for _ in 0..2 {
        waiting.wait_event("joined", SOON).await;
        // It begins with a data channel alone.
        enter(&page, &base, "{ id: 'page', call: 'bridge' }", "session").await;
        media_of(&mut waiting, "caller").await;
        page.eval("me.close()").await;
        waiting.wait_event("participant_left", SOON).await;
    }
    record_decodable(&mut waiting, &output, 1).await;

    enter(&page, &base, "{ id: 'page' }", "registered").await;
    let output = path("calling.mkv");
    let mut calling = bridge(&base, "?call=page", &output);
    media_of(&mut calling, "page").await;
    assert_eq!(page.eval("me.said[1]").await, "OFFER_REQUEST");
    record_decodable(&mut calling, &output, 2).await;
    page.wait_for("me.state === 'closed 1000'", SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_meets_webrtcbin_whoever_comes_first_and_a_publisher() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("call.mkv").to_string_lossy().into_owned();
    // It dials the root, as GStreamer's programs do.
    let root = base.replace("http", "ws");
    let camera = WebrtcbinPeer::start(&root, "camera", Some("demo")).await;
    let mut bridge = bridge(&base, "/demo", &output);
    media_of(&mut bridge, "camera").await;
    drop(camera);
    bridge.wait_event("participant_left", SOON).await;
    let _camera = WebrtcbinPeer::start(&root, "camera", Some("demo")).await;
    media_of(&mut bridge, "camera").await;
    let room = format!("{}/gst/demo", base.replace("http", "gst+ws"));
    let _publisher = Roomcast::start(["publish", &room, "--name", "publisher", "--size", "320x180", "--fps", "15"]);
    media_of(&mut bridge, "publisher").await;
    record_decodable(&mut bridge, &output, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_signed_its_own_certificate_is_accepted_only_when_the_url_says_so() {
    let _turn = one_at_a_time().await;
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("call.mkv").to_string_lossy().into_owned();
    let server = SimpleServer::start(directory.path()).await;
    let _camera = WebrtcbinPeer::start(&format!("wss://{}", server.host), "camera", None).await;
    let room = format!("gst+wss://{}/?call=camera", server.host);
    let mut refused = tokio::process::Command::new(env!("CARGO_BIN_EXE_roomcast"));
    let refused = refused.args(["bridge", &room, "-o", &output]).kill_on_drop(true).output().await.unwrap();
    assert_eq!(refused.status.code(), Some(3));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("as GStreamer's does by default, is accepted with insecure=1"), "{said}");

    // We ask the camera to offer, as it expects.
    let room = room + "&insecure=1";
    let mut bridge = Roomcast::start(["bridge", &room, "--size", "320x180", "-o", &output]);
    media_of(&mut bridge, "camera").await;
    record_decodable(&mut bridge, &output, 2).await;

    // Its rooms, whatever it gets wrong there.
    let mut ada = seat(&server, "ada");
    assert!(matches!(ada.events.recv().await, Some(Event::Joined { .. })));
    let mut ben = seat(&server, "ben");
    assert!(matches!(ben.events.recv().await, Some(Event::Joined { .. })));
    let (joined, offer) = (ParticipantId::new("ada"), OfferRole::WeOffer);
    assert_eq!(ben.events.recv().await, Some(Event::PeerJoined { peer: joined, offer }));
    let (peer, offer) = (ParticipantId::new("ben"), OfferRole::WeWait);
    assert_eq!(ada.events.recv().await, Some(Event::PeerJoined { peer: peer.clone(), offer }));
    let mut second = seat(&server, "ben");
    assert!(matches!(second.events.recv().await, Some(Event::Reconnecting { .. })), "the id is taken");
    ben.closed().await.unwrap();
    assert_eq!(ada.events.recv().await, Some(Event::PeerLeft { peer }));
}

fn seat(server: &SimpleServer, id: &str) -> Session {
    let url = format!("gst+wss://{}/demo?id={id}&insecure=1", server.host);
    join(url.parse().unwrap(), JoinOptions::default(), CancellationToken::new())
}
