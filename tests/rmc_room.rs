//! RTCMultiConnection rooms with the original server and the original page in a browser.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{
    Browser, BrowserOptions, FlashAndBeep, RmcServer, Roomcast, assert_shows_flash_and_beep, flash_and_beep_js,
    free_tcp_port, library, one_at_a_time,
};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(30);
const SMALL: FlashAndBeep = FlashAndBeep { width: 320, height: 180, fps: 15, camera: true, microphone: true };

/// The page of the original's documentation, without its user interface.
const PAGE: &str = r#"
window.__enter = (room, password) => {
  const connection = window.__connection = new RTCMultiConnection();
  connection.socketURL = "/";
  connection.session = { audio: true, video: true };
  connection.sdpConstraints.mandatory = { OfferToReceiveAudio: true, OfferToReceiveVideo: true };
  connection.iceServers = [];
  if (password) connection.password = password;
  connection.onstream = () => {};
  return new Promise((resolve, reject) => {
    connection.onMediaError = (error) => reject(error);
    connection.openOrJoin(room, (joined, id, error) => (joined ? resolve(connection.userid) : reject(Error(error))));
  });
};
"#;

/// Somebody in a browser on the original page.
struct Person {
    page: Browser,
    base: String,
}

impl Person {
    async fn start(port: u16) -> Self {
        let libraries = ["socket.io/client-dist/socket.io.js", "rtcmulticonnection/dist/RTCMultiConnection.js"];
        let libraries: Vec<String> = libraries.into_iter().map(library).collect();
        let before_load = format!("{};\n{};\n{PAGE}", flash_and_beep_js(SMALL), libraries.join(";\n"));
        let page = Browser::start_with(BrowserOptions { before_load, ..BrowserOptions::default() }).await;
        Self { page, base: format!("http://127.0.0.1:{port}/") }
    }

    /// Opens the room, or joins it if it exists; returns the id.
    async fn enter(&self, room: &str, password: Option<&str>) -> String {
        self.page.goto(&self.base).await;
        let id = self.page.eval(&format!("__enter({}, {})", json!(room), json!(password))).await;
        id.as_str().unwrap_or_else(|| panic!("no id: {id}")).to_owned()
    }
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

fn named(events: &[Value], name: &str) -> usize {
    events.iter().filter(|event| event["event"] == name).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_is_first_gets_media_of_a_page_that_comes_goes_and_returns_and_survives_the_server() {
    let _turn = one_at_a_time().await;
    let port = free_tcp_port();
    let server = RmcServer::start(port).await;
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("call.mkv").to_string_lossy().into_owned();
    let room = format!("rmc+http://127.0.0.1:{port}/?room=r 1");
    let mut bridge = Roomcast::start(["bridge", &room, "--size", "320x180", "-o", &recording]);
    bridge.wait_event("joined", SOON).await;

    let person = Person::start(port).await;
    let first = person.enter("r 1", None).await;
    media_of(&mut bridge, &first).await;
    person.page.eval("__connection.leave()").await;
    let left = bridge.wait_event("participant_left", SOON).await;
    assert_eq!((&left["participant"], &left["reason"]), (&json!(first), &json!("left")));
    // A new document is a new participant.
    let second = person.enter("r 1", None).await;
    media_of(&mut bridge, &second).await;

    drop(server);
    bridge.wait_event("reconnecting", SOON).await;
    let _server = RmcServer::start(port).await;
    bridge.wait_event("joined", SOON).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let events = bridge.events();
    assert_eq!(named(&events, "participant_left"), 1, "media go on without the server: {events:#?}");
    assert_eq!(named(&events, "participant_joined"), 2, "nobody appears twice: {events:#?}");

    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    assert_shows_flash_and_beep(&recording).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_comes_later_is_offered_media_if_it_knows_the_password() {
    let _turn = one_at_a_time().await;
    let port = free_tcp_port();
    let _server = RmcServer::start(port).await;
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("call.mkv").to_string_lossy().into_owned();
    let bridge_with = |password: &str| {
        let room = format!("rmc+http://127.0.0.1:{port}/?room=r&open=no&password={password}");
        Roomcast::start(["bridge", &room, "--size", "320x180", "-o", &recording])
    };
    // It may not open the room, so it waits for the person.
    let mut bridge = bridge_with("s3same");
    let person = Person::start(port).await;
    let id = person.enter("r", Some("s3same")).await;
    bridge.wait_event("joined", SOON).await;
    media_of(&mut bridge, &id).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    person.page.wait_for("__connection.getAllParticipants().length === 0", SOON).await;
    let said = format!("{:?}{}", bridge.events(), bridge.log());
    assert!(said.contains("waiting for it, as open=no asks") && !said.contains("s3same"), "{said}");

    let mut stranger = bridge_with("w0rd");
    assert_eq!(stranger.ended(SOON).await.code(), Some(3));
    let log = stranger.log();
    assert!(log.contains("Invalid password") && !log.contains("w0rd"), "{log}");
}
