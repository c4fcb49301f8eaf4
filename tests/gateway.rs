//! Live media and the supervision of bridges, with a script in place of the bridge.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use roomcast::server::{BridgeStatus, GatewayConfig, ListenAddress, Server, ServerConfig, serve};
use roomcast::signaling::{Event, JoinOptions, Session, join};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

const PATIENCE: Duration = Duration::from_secs(10);

struct Test {
    server: Server,
    directory: tempfile::TempDir,
    cancel: DropGuard,
}

/// What a GET gave.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

async fn start(mode: &str, change: impl FnOnce(&mut GatewayConfig)) -> Test {
    let directory = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fake-bridge.sh");
    let mut bridges = GatewayConfig::new(script);
    bridges.environment =
        vec![("FAKE_DIR".into(), directory.path().display().to_string()), ("FAKE_MODE".into(), mode.to_owned())];
    bridges.restart = Duration::from_millis(50);
    bridges.stop_timeout = Duration::from_millis(500);
    change(&mut bridges);
    let cancel = CancellationToken::new();
    let listen = ListenAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
    let config = ServerConfig { listen, bridges: Some(bridges), ..ServerConfig::default() };
    let server = serve(config, cancel.clone()).await.unwrap();
    Test { server, directory, cancel: cancel.drop_guard() }
}

impl Test {
    async fn member(&self, room: &str) -> Session {
        let url = format!("mesh+ws://{}/ws?room={room}&id=a", self.server.addr());
        let mut session = join(url.parse().unwrap(), JoinOptions::default(), CancellationToken::new());
        let joined = timeout(PATIENCE, session.events.recv()).await.unwrap().unwrap();
        assert!(matches!(joined, Event::Joined { .. }));
        session
    }

    async fn connect(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.addr()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.server.addr());
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn get(&self, path: &str) -> Answer {
        let mut answer = String::new();
        timeout(PATIENCE, self.connect(path).await.read_to_string(&mut answer)).await.expect("an answer").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// How often a bridge was started, and with what.
    fn started(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.path().join("started")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Waits for something that another process does.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_first_request_starts_the_bridge_of_a_room_and_later_ones_share_it() {
    let test = start("", |_| {}).await;
    let _member = test.member("r%201").await;
    let playlist = test.get("/rooms/r%201/hls/index.m3u8").await;
    assert_eq!((playlist.status, playlist.body.as_str()), (200, "#EXTM3U\nsegment0.ts\n"));
    for header in
        ["content-type: application/vnd.apple.mpegurl", "cache-control: no-cache", "access-control-allow-origin: *"]
    {
        assert!(playlist.head.contains(header), "{}", playlist.head);
    }
    let segment = test.get("/rooms/r%201/hls/segment0.ts").await;
    assert_eq!((segment.status, segment.body.as_str()), (200, "segment"));
    assert!(segment.head.contains("content-type: video/mp2t"));
    let sdp = test.get("/rooms/r%201/live.sdp").await;
    assert_eq!((sdp.status, sdp.body.as_str()), (200, "v=0\r\n"));
    assert!(sdp.head.contains("content-type: application/sdp"));

    let started = test.started();
    assert_eq!(started.len(), 1);
    let expected = format!("bridge mesh+ws://{}/ws?room=r+1 -o hls:", test.server.addr());
    assert!(started[0].starts_with(&expected), "{}", started[0]);
    assert!(started[0].ends_with("--json --control --exit-when-empty 10"), "{}", started[0]);

    let api: serde_json::Value = serde_json::from_str(&test.get("/api/v1/rooms").await.body).unwrap();
    let room = &api["rooms"][0];
    assert_eq!((&room["room"], &room["members"]), (&"r 1".into(), &serde_json::json!(["a"])));
    assert_eq!((&room["bridge"]["status"], &room["bridge"]["participants"][0]), (&"running".into(), &"a".into()));
    let one: serde_json::Value = serde_json::from_str(&test.get("/api/v1/rooms/r%201").await.body).unwrap();
    assert_eq!(&one, room);
    assert_eq!(test.get("/api/v1/rooms/other").await.status, 404);
}

#[tokio::test]
async fn a_room_without_members_starts_nothing() {
    let test = start("", |_| {}).await;
    for path in ["/rooms/nobody/hls/index.m3u8", "/rooms/nobody/live.ts", "/rooms/nobody/live.sdp"] {
        let answer = test.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.body.contains("room \"nobody\" has no members"), "{}", answer.body);
    }
    assert!(test.started().is_empty());
}

#[tokio::test]
async fn no_path_leads_out_of_the_directory_of_a_bridge() {
    let test = start("", |_| {}).await;
    let _member = test.member("r").await;
    assert_eq!(test.get("/rooms/r/hls/index.m3u8").await.status, 200);
    for path in [
        "/rooms/r/hls/../live.sdp",
        "/rooms/r/hls/..%2flive.sdp",
        "/rooms/r/hls/%2e%2e/live.sdp",
        "/rooms/r/hls/%2fetc%2fpasswd",
        "/rooms/..%2f..%2fetc/hls/index.m3u8",
        "/rooms/r/hls/a%00.ts",
        "/rooms/a%0ab/live.sdp",
        "/..%2fCargo.toml",
        "/../Cargo.toml",
    ] {
        let answer = test.get(path).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
    }
}

#[tokio::test]
async fn live_ts_is_passed_on_to_each_viewer() {
    let test = start("ts", |_| {}).await;
    let _member = test.member("r").await;
    let mut viewer = test.connect("/rooms/r/live.ts").await;
    until("the bridge names its socket", || test.file("socket").exists()).await;
    let path = std::fs::read_to_string(test.file("socket")).unwrap().trim().replace("ts+unix:", "");
    let listener = UnixListener::bind(path).unwrap();
    let (mut bridge, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    bridge.write_all(b"first packets").await.unwrap();
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains("first packets") {
        assert!(timeout(PATIENCE, viewer.read_buf(&mut got)).await.expect("bytes in time").unwrap() > 0);
    }
    assert!(String::from_utf8_lossy(&got).contains("content-type: video/mp2t"));
    drop(viewer);
    let (mut probe, deadline) = ([0; 1], Instant::now() + PATIENCE);
    loop {
        // The pump notices that its viewer has gone and closes the socket.
        if bridge.read(&mut probe).await.is_ok_and(|read| read == 0) {
            break;
        }
        assert!(Instant::now() < deadline);
    }
}

#[tokio::test]
async fn a_viewer_of_live_ts_that_is_too_slow_is_dropped_and_the_bridge_never_waits() {
    let test = start("ts", |_| {}).await;
    let _member = test.member("r").await;
    let _stuck = test.connect("/rooms/r/live.ts").await;
    until("the bridge names its socket", || test.file("socket").exists()).await;
    let path = std::fs::read_to_string(test.file("socket")).unwrap().trim().replace("ts+unix:", "");
    let listener = UnixListener::bind(path).unwrap();
    let (mut bridge, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let flood = async {
        let chunk = vec![0x47; 188 * 100];
        while bridge.write_all(&chunk).await.is_ok() {}
    };
    timeout(PATIENCE, flood).await.expect("the socket is closed instead of filling up");
}

#[tokio::test]
async fn a_bridge_that_crashes_is_started_again() {
    let test = start("crash-once", |_| {}).await;
    let _member = test.member("r").await;
    let playlist = test.get("/rooms/r/hls/index.m3u8").await;
    assert_eq!(playlist.status, 200, "{}", playlist.body);
    assert_eq!(test.started().len(), 2);
    let room: serde_json::Value = serde_json::from_str(&test.get("/api/v1/rooms/r").await.body).unwrap();
    assert_eq!(room["bridge"]["restarts"], 1);
}

#[tokio::test]
async fn what_does_not_start_in_time_is_worth_another_try_in_a_second() {
    let test = start("crash", |config| config.start_wait = Duration::from_millis(300)).await;
    let _member = test.member("r").await;
    let answer = test.get("/rooms/r/hls/index.m3u8").await;
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
    until("it is tried again and again", || test.started().len() > 2).await;
}

#[tokio::test]
async fn a_bridge_that_cannot_work_says_why_and_is_not_started_again_by_itself() {
    let test = start("hopeless", |_| {}).await;
    let _member = test.member("r").await;
    let answer = test.get("/rooms/r/hls/index.m3u8").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("output x: no such thing"), "{}", answer.body);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(test.started().len(), 1);
}

#[tokio::test]
async fn a_bridge_that_nobody_watches_is_stopped_and_comes_back_when_somebody_does() {
    let test = start("", |config| config.idle = Duration::from_millis(300)).await;
    let _member = test.member("r").await;
    assert_eq!(test.get("/rooms/r/hls/index.m3u8").await.status, 200);
    until("it stops", || test.file("stopped").exists()).await;
    until("it is forgotten", || {
        let path = std::fs::read_to_string(test.file("started")).unwrap();
        let hls = path.split("hls:").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        !Path::new(&hls).exists()
    })
    .await;
    assert_eq!(test.get("/rooms/r/hls/index.m3u8").await.status, 200);
    assert_eq!(test.started().len(), 2);
}

#[tokio::test]
async fn a_server_that_ends_stops_its_bridges_and_leaves_nothing_behind() {
    let test = start("", |_| {}).await;
    let _member = test.member("r").await;
    let viewing = test.server.gateway().unwrap().watch("r").await.unwrap();
    let mut state = viewing.state().clone();
    timeout(PATIENCE, state.wait_for(|state| state.status == BridgeStatus::Running)).await.unwrap().unwrap();
    let private = viewing.files().ts_socket.parent().unwrap().to_owned();
    assert!(private.exists());
    drop(test.cancel);
    timeout(PATIENCE, test.server.closed()).await.expect("a server that ends");
    assert_eq!(std::fs::read_to_string(test.directory.path().join("stopped")).unwrap(), "stopped\n");
    assert!(!private.exists());
}

#[tokio::test]
async fn a_bridge_that_does_not_stop_is_killed() {
    let test = start("deaf", |_| {}).await;
    let _member = test.member("r").await;
    let viewing = test.server.gateway().unwrap().watch("r").await.unwrap();
    let mut state = viewing.state().clone();
    timeout(PATIENCE, state.wait_for(|state| state.status == BridgeStatus::Running)).await.unwrap().unwrap();
    drop(test.cancel);
    timeout(PATIENCE, test.server.closed()).await.expect("a server that ends in spite of its bridge");
}

/// Without the limit in `Owner::watch` the second room got its bridge and its playlist at once: 200 in the place of 503.
#[tokio::test]
async fn a_room_that_the_machine_cannot_carry_is_refused_until_there_is_room_again() {
    // However busy the machine is, a loop gets more than a hundredth of it, and a bridge that sleeps does not.
    let test = start("", |config| config.cpu_limit = Some(0.01)).await;
    let (_a, _b) = (test.member("a").await, test.member("b").await);
    std::fs::write(test.file("busy"), "").unwrap();
    assert_eq!(test.get("/rooms/a/hls/index.m3u8").await.status, 200);
    // What a bridge takes is measured for a while before it counts.
    sleep(Duration::from_secs(4)).await;
    let refused = test.get("/rooms/b/hls/index.m3u8").await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    for part in ["cannot carry another room", "1 running bridges take", "processors", "--cpu-limit"] {
        assert!(refused.body.contains(part), "{part} in {}", refused.body);
    }
    assert_eq!(test.started().len(), 1, "nothing was started for it");
    assert_eq!(test.get("/rooms/a/hls/index.m3u8").await.status, 200, "who is carried already stays");
    std::fs::remove_file(test.file("busy")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while test.get("/rooms/b/hls/index.m3u8").await.status != 200 {
        assert!(Instant::now() < deadline, "the load is gone");
        sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(test.started().len(), 2);
}
