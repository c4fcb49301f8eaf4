//! Somebody who wants more than their share: packets, messages, places. Each limit has a name and a way out, whoever passes it loses
//! by it, and nobody else does.
//!
//! Each was seen to fail with its limit switched off: how, and what it said, stands at the test.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use roomcast::peer::RtpPacket;
use roomcast::terms::Codec;
use serde_json::{Value, json};
use support::{MeshCall, MeshMember, Roomcast, Scene, assert_whole};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(20);

/// The gateway's id in a scene.
const BRIDGE: &str = "zzz-gw-00000001";

/// Waits for an event about somebody, and fails when one of these comes about the publisher, who is honest.
async fn event_about(bridge: &mut Roomcast, event: &str, id: &str) -> Value {
    loop {
        let event = bridge.wait_event(event, SOON).await;
        assert_ne!(event["participant"], "publisher", "{event}");
        if event["participant"] == id {
            return event;
        }
    }
}

/// Sends three packets each millisecond for a while, as a participant of the room. Returns how many went out.
async fn flood(scene: &Scene, id: &str, codec: Codec, packet: fn(u16) -> RtpPacket, length: Duration) -> u32 {
    let mut call = MeshCall::join(&scene.base, "r", id, BRIDGE).await;
    let track = call.peer.add_outbound(codec).await.unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let (mut until, mut number, mut sent) = (None, 0_u16, 0);
    loop {
        tokio::select! {
            said = call.next() => {
                if call.pass_on(said).await {
                    until = Some(Instant::now() + length);
                }
            }
            _ = tick.tick() => {
                for _ in 0..3 {
                    number = number.wrapping_add(1);
                    sent += u32::from(track.write(packet(number)).await.unwrap_or(false));
                }
                if until.is_some_and(|until| Instant::now() >= until) {
                    break;
                }
            }
        }
    }
    call.leave().await;
    sent
}

fn packet(number: u16, timestamp: u32, payload: &[u8]) -> RtpPacket {
    let mut packet = BytesMut::new();
    packet.put_slice(&[0x80, 96]);
    packet.put_u16(number);
    packet.put_u32(timestamp);
    packet.put_u32(1);
    packet.put_slice(payload);
    RtpPacket::parse(packet.freeze()).unwrap()
}

fn opus(number: u16) -> RtpPacket {
    packet(number, u32::from(number) * 960, &[0xfc, 0xff, 0xfe])
}

/// The first and then the middle of a unit of H.264 that never has its last fragment (RFC 6184, section 5.8).
fn endless_unit(number: u16) -> RtpPacket {
    let mut payload = vec![0x55; 1200];
    payload[..2].copy_from_slice(if number == 1 { &[0x7c, 0x85] } else { &[0x7c, 0x05] });
    packet(number, 0, &payload)
}

/// A keyframe of VP8 to which more and more belongs (RFC 7741, section 4.2).
fn endless_picture(number: u16) -> RtpPacket {
    let mut payload = vec![0x55; 1200];
    let start: &[u8] =
        if number == 1 { &[0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00] } else { &[0x00] };
    payload[..start.len()].copy_from_slice(start);
    packet(number, 0, &payload)
}

/// With `Unfinished::admits` admitting everything: the reason was `left`, after 27009 packets.
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_never_ends_costs_its_sender_the_call() {
    let scene = Scene::start().await;
    let file = scene.path("a.mkv");
    let (mut bridge, wall) = scene.bridge(&[&file], &["--name", BRIDGE]).await;
    bridge.wait_event("output_ready", SOON).await;
    for (id, codec, endless) in
        [("unit", Codec::H264, endless_unit as fn(u16) -> RtpPacket), ("picture", Codec::Vp8, endless_picture)]
    {
        let flooding = flood(&scene, id, codec, endless, Duration::from_secs(9));
        let left = event_about(&mut bridge, "participant_left", id);
        let (sent, left) = tokio::join!(flooding, left);
        let reason = left["reason"].as_str().unwrap();
        assert!(reason.contains("more than the 16777216 bytes"), "{id}: {reason}, {sent} packets were sent");
    }
    let end = wall.now();
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());
    assert_whole(&file, end, &bridge).await;
}

/// With `Intake::admits` passing everything: no event `participant_limited` within 20 s.
#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_many_packets_loses_them_and_nobody_else_does() {
    let scene = Scene::start().await;
    let file = scene.path("a.mkv");
    // The publisher sends some 150 packets a second.
    let (mut bridge, wall) = scene.bridge(&[&file], &["--name", BRIDGE, "--max-packet-rate", "600"]).await;
    bridge.wait_event("output_ready", SOON).await;
    let flooding = async {
        let sent = flood(&scene, "flood", Codec::Opus, opus, Duration::from_secs(6)).await;
        assert!(sent > 4000, "only {sent} packets were sent");
    };
    let limited = event_about(&mut bridge, "participant_limited", "flood");
    let ((), limited) = tokio::join!(flooding, limited);
    let reason = limited["reason"].as_str().unwrap();
    assert!(reason.contains("600 packets a second") && reason.contains("--max-packet-rate"), "{reason}");
    event_about(&mut bridge, "participant_left", "flood").await;
    let end = wall.now();
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());
    let events = bridge.events();
    let told = events.iter().filter(|event| event["event"] == "participant_limited").count();
    assert_eq!(told, 1, "told once: {events:#?}");
    let states = events.iter().filter(|event| event["event"] == "stats");
    let states: Vec<_> = states.flat_map(|stats| stats["participants"].as_array().unwrap().clone()).collect();
    let refused = |id: &str| {
        states.iter().filter(|state| state["participant"] == id).filter_map(|state| state["refused"].as_u64()).max()
    };
    assert!(refused("flood") > Some(500), "counted: {states:#?}");
    assert_eq!(refused("publisher"), None, "{states:#?}");
    assert_whole(&file, end, &bridge).await;
}

/// With `Talk::weigh` hearing everything: no event `participant_left` within 20 s, the end of candidates may be said for ever.
#[tokio::test(flavor = "multi_thread")]
async fn who_says_too_much_in_the_room_loses_the_call_and_nobody_else_does() {
    let scene = Scene::start().await;
    let file = scene.path("a.mkv");
    let (mut bridge, wall) = scene.bridge(&[&file], &["--name", BRIDGE]).await;
    bridge.wait_event("output_ready", SOON).await;
    let mut member = MeshMember::join(&scene.base, "r", "talker").await;
    member.hear_type("offer").await;
    for _ in 0..700 {
        member.say(&json!({ "type": "candidate", "to": BRIDGE, "candidate": null })).await;
    }
    let left = event_about(&mut bridge, "participant_left", "talker").await;
    let reason = left["reason"].as_str().unwrap();
    for part in ["300 signaling messages at once", "30 a second", "may call again"] {
        assert!(reason.contains(part), "{reason}");
    }
    let end = wall.now();
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());
    assert_whole(&file, end, &bridge).await;
}

/// Without the question in `Room::admit`: no event `participant_refused` within 20 s.
#[tokio::test(flavor = "multi_thread")]
async fn there_is_room_for_so_many_and_the_next_one_gets_the_place_that_becomes_free() {
    let scene = Scene::start().await;
    let (mut bridge, _) = scene.bridge(&[&scene.path("a.mkv")], &["--name", BRIDGE, "--max-participants", "2"]).await;
    bridge.wait_event("output_ready", SOON).await;
    let mut first = MeshMember::join(&scene.base, "r", "first").await;
    first.hear_type("offer").await;
    let mut second = MeshMember::join(&scene.base, "r", "second").await;
    let refused = event_about(&mut bridge, "participant_refused", "second").await;
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("2 participants are here") && reason.contains("--max-participants"), "{reason}");
    first.say(&json!({ "type": "leave" })).await;
    let offer = second.hear_type("offer").await;
    assert_eq!(offer["from"], BRIDGE, "{offer}");
    bridge.terminate(SOON).await;
    let stopped: Vec<_> = bridge.events().into_iter().filter(|event| event["participant"] == "publisher").collect();
    assert!(stopped.iter().all(|event| event["event"] != "participant_refused"), "{stopped:#?}");
}

/// The beginning of an OBU, and its end in a packet that says that two gigabytes of it follow (AV1 RTP specification, section 4.4).
fn giant_end(number: u16) -> RtpPacket {
    let payload: &[u8] =
        if number % 2 == 1 { &[0x58, 0x30, 1, 2, 3] } else { &[0xa0, 0x80, 0x80, 0x80, 0x80, 0x08, 1, 2] };
    packet(number, 0, payload)
}

/// The most memory that a process has had, in MB.
fn peak_of(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1000
}

/// With `av1_sizes::fit` true for everything: `2207 MB`.
#[tokio::test(flavor = "multi_thread")]
async fn a_packet_that_claims_gigabytes_gets_none() {
    let scene = Scene::start().await;
    let file = scene.path("a.mkv");
    let (mut bridge, wall) = scene.bridge(&[&file], &["--name", BRIDGE]).await;
    bridge.wait_event("output_ready", SOON).await;
    let sent = flood(&scene, "giant", Codec::Av1, giant_end, Duration::from_secs(4)).await;
    assert!(sent > 500, "only {sent} packets were sent");
    let peak = peak_of(bridge.id());
    assert!(peak < 1000, "{peak} MB");
    let end = wall.now();
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());
    assert_whole(&file, end, &bridge).await;
}

/// With `Pace::is_flooded` always false: it was not closed in 40 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_closes_who_floods_it_and_says_so() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let url = format!("{}/ws", base.replace("http", "ws"));
    let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let (mut sink, mut stream) = socket.split();
    let join = json!({ "type": "join", "room": "r", "from": "flood" });
    sink.send(Message::text(join.to_string())).await.unwrap();
    let flooding = tokio::spawn(async move {
        // As fast as the server takes them, which is a hundred a second.
        while sink.send(Message::text(r#"{"type":"pong"}"#)).await.is_ok() {}
    });
    let began = Instant::now();
    let closing = async {
        loop {
            match stream.next().await {
                Some(Ok(Message::Close(frame))) => break frame.expect("with a reason"),
                Some(Ok(_)) => {}
                other => panic!("closed without a word: {other:?}"),
            }
        }
    };
    let closed = timeout(2 * SOON, closing).await.expect("who floods is closed");
    assert_eq!((u16::from(closed.code), began.elapsed() > Duration::from_secs(9)), (1008, true), "{closed:?}");
    assert!(closed.reason.contains("messages a second"), "{closed:?}");
    flooding.abort();
    let (mut other, _) = tokio_tungstenite::connect_async(format!("{}/ws", base.replace("http", "ws"))).await.unwrap();
    other.send(Message::text(json!({ "type": "join", "room": "r", "from": "other" }).to_string())).await.unwrap();
    let joined = timeout(SOON, other.next()).await.unwrap().unwrap().unwrap();
    assert!(joined.to_text().unwrap().contains("joined"), "{joined:?}");
}

/// What a server answers to this, until it closes.
async fn answer(address: &str, request: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&request[..request.len().min(80)]).into_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.ok();
    if !request.ends_with(CLOSE) {
        stream.shutdown().await.ok();
    }
    let mut answer = Vec::new();
    timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap_or_else(|_| panic!("no end: {shown:?}")).ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The end of a request that is whole: whoever then closed as well might get no answer.
const CLOSE: &[u8] = b"Connection: close\r\n\r\n";

fn get(path: &str) -> Vec<u8> {
    [format!("GET {path} HTTP/1.1\r\nHost: h\r\n").as_bytes(), CLOSE].concat()
}

/// What anybody can write to an HTTP port: nothing but an error comes of it, and never a file, while a room has files that are served.
///
/// Seen to fail when `hls_file` in `server/http/hls.rs` takes any name: 200 and `/etc/passwd` from below the playlist's directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_survives_what_is_no_http_and_paths_that_lead_elsewhere() {
    let (server, base) = Roomcast::serve(&["--whip-token", "s3cret", "--size", "320x180", "--fps", "15"]).await;
    let address = base.trim_start_matches("http://").to_owned();
    let room = format!("{}/ws?room=r", base.replace("http", "mesh+ws"));
    let _person = Roomcast::start(["publish", &room, "--size", "320x180", "--fps", "15"]);
    let begun = async {
        while !answer(&address, &get("/rooms/r/hls/index.m3u8")).await.starts_with("HTTP/1.1 200") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(3 * SOON, begun).await.expect("the room has a playlist");
    let long = "x".repeat(100_000);
    let mut requests: Vec<Vec<u8>> = [
        "\0\0\0\0", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", "POST /sv/join HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\nx",
        "POST /whip/r HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzz\r\n",
        "POST /whip/r HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer s3cre\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0",
        "POST /whip/r HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer s3cret\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    for path in [
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/%00",
        "/rooms/r/hls/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/rooms/r/hls/%2fetc%2fpasswd",
        "/rooms/r/hls/.%2findex.m3u8",
        "/rooms/../hls/x.ts",
        "/rooms/%2e%2e%2f%2e%2e/live.sdp",
        "/watch/%ff%fe",
        "/watch/a%0d%0aX-Evil:%201",
        "/whep/r/..%2f..",
        "/gst/%0a",
        &long,
        "/call/%00",
        "/api/v1/rooms/..%2f..%2fetc",
        "/rooms/r/hls/index.m3u8?_HLS_msn=99999999999999999999&_HLS_part=-1",
        "/\\..\\..\\etc\\passwd",
    ] {
        requests.push(get(path));
    }
    for request in &requests {
        let shown = String::from_utf8_lossy(&request[..request.len().min(100)]).into_owned();
        let answer = answer(&address, request).await;
        assert!(!answer.contains("root:") && !answer.contains("X-Evil"), "{shown:?}: {answer}");
        assert!(answer.is_empty() || !answer.starts_with("HTTP/1.1 5"), "{shown:?}: {answer}");
        if shown.contains("s3cre\r") {
            // Whoever is refused before everything was read may find the connection closed.
            assert!(answer.starts_with("HTTP/1.1 401") || answer.is_empty(), "{shown:?}: {answer}");
        }
        if shown.contains("passwd") || shown.contains(".%2f") {
            assert!(answer.starts_with("HTTP/1.1 4"), "{shown:?}: {answer}");
        }
    }
    let health = answer(&address, &get("/healthz")).await;
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    assert!(!server.log().contains("panicked") && !server.log().contains("s3cret"), "{}", server.log());
}
