//! RTSP both ways: players that come to us, and a media server that we publish to.

#![allow(clippy::unwrap_used, reason = "a test that fails here has failed")]

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::{
    Reading, Roomcast, RtspMediaServer, Running, Scene, free_tcp_port, play_with_playbin, probe, read_with_ffmpeg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const SOON: Duration = Duration::from_secs(30);
const LENGTH: Duration = Duration::from_secs(5);
/// 5 s at 30 frames a second, less what a player takes to start on a busy machine.
const ENOUGH: u64 = 100;

async fn ffmpeg(transport: &str, url: &str, length: Duration) -> Reading {
    read_with_ffmpeg(&["-rtsp_transport", transport, url], length).await
}

fn assert_plays(reading: &Reading, what: &str) {
    assert_eq!(reading.errors, Vec::<String>::new(), "{what}");
    assert!(reading.success && reading.frames >= ENOUGH, "{what}: {reading:?}");
}

async fn skew(source: &str) -> f64 {
    let report = probe(source, &["--duration", "5"]).await;
    for stream in report["streams"].as_array().unwrap() {
        assert_eq!(
            (&stream["decode_errors"], &stream["gaps"]["count"]),
            (&0.into(), &0.into()),
            "{source}: {report:#}"
        );
    }
    report["skew"]["median_ms"].as_f64().unwrap_or(f64::NAN)
}

#[tokio::test(flavor = "multi_thread")]
async fn players_come_to_a_room_at_any_moment_over_udp_and_tcp() {
    let scene = Scene::start().await;
    let url = format!("rtsp://127.0.0.1:{}/call", free_tcp_port());
    let (serve, file) = (format!("{url}?mode=serve"), scene.path("mix.mkv"));
    // Nobody could join so soon without a keyframe that was asked for.
    let (mut bridge, _) = scene.bridge(&[&serve, &file], &["--gop", "60"]).await;
    for _ in [&serve, &file] {
        bridge.wait_event("output_ready", SOON).await;
    }
    let (udp, tcp, playbin) = tokio::join!(
        ffmpeg("udp", &url, LENGTH),
        ffmpeg("tcp", &url, LENGTH),
        // It collects two seconds before it shows anything.
        play_with_playbin(&url, LENGTH + Duration::from_secs(2))
    );
    assert_plays(&udp, "ffmpeg over UDP");
    assert_plays(&tcp, "ffmpeg over TCP");
    assert!(playbin.frames >= ENOUGH && playbin.sounds >= ENOUGH, "playbin: {playbin:?}");
    let started = Instant::now();
    let late = ffmpeg("tcp", &url, Duration::from_secs(1)).await;
    assert_eq!(late.errors, Vec::<String>::new(), "a late player");
    assert!(late.frames >= 20 && started.elapsed() < Duration::from_secs(10), "{late:?} after {:?}", started.elapsed());

    // What the mix itself has is in every output: serving must add nothing to it.
    let measured = [skew(&url).await, skew(&url.replace("rtsp", "rtspt")).await];
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    let recorded = skew(&file).await;
    for served in measured {
        assert!((served - recorded).abs() <= 20.0, "served {measured:?} ms, recorded {recorded} ms");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_lets_players_in_to_what_a_participant_sends_and_is_shown_to_nobody() {
    let scene = Scene::start().await;
    let port = free_tcp_port();
    let serve = format!("rtsp://127.0.0.1:{port}/call?mode=serve&user=me&password=s3cr%26t&video=copy&audio=copy");
    let (mut bridge, _) = scene.bridge(&[&serve], &[]).await;
    let ready = bridge.wait_event("output_ready", SOON).await;
    assert_eq!(ready["play"]["url"], format!("rtsp://me:PASSWORD@127.0.0.1:{port}/call"), "{ready}");
    let url = |who: &str| format!("rtsp://{who}127.0.0.1:{port}/call");
    assert_plays(&ffmpeg("tcp", &url("me:s3cr%26t@"), LENGTH).await, "with the password");
    for who in ["", "me:wrong@", "you:s3cr%26t@"] {
        let refused = ffmpeg("tcp", &url(who), LENGTH).await;
        assert!(!refused.success && refused.errors.iter().any(|line| line.contains("401")), "{who}: {refused:?}");
    }
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    let told = format!("{:?}{}", bridge.events(), bridge.log());
    assert!(!told.contains("s3cr"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_stops_reading_holds_back_nobody() {
    let scene = Scene::start().await;
    let url = format!("rtsp://127.0.0.1:{}/call", free_tcp_port());
    let (mut bridge, _) = scene.bridge(&[&format!("{url}?mode=serve")], &["--video-bitrate", "6M"]).await;
    bridge.wait_event("output_ready", SOON).await;
    // Two megabytes go into our own socket before its player holds us back: a few seconds.
    let _never_read = play_and_never_read(&url).await;
    let _stopped = stop_after_the_first_frames(&url).await;
    let (by_tcp, by_udp) =
        tokio::join!(ffmpeg("tcp", &url, Duration::from_secs(8)), ffmpeg("udp", &url, Duration::from_secs(8)));
    for (reading, what) in [(&by_tcp, "TCP"), (&by_udp, "UDP")] {
        assert_plays(reading, what);
        assert!(reading.frames >= 210, "{what}: {reading:?}");
    }
    come_and_go(&url).await;
    assert_plays(&ffmpeg("tcp", &url, LENGTH).await, "a player that comes later");
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
}

/// A player of our own over TCP with room for a few packets, which takes none.
async fn play_and_never_read(url: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(authority(url).parse().unwrap()).await.unwrap();
    let mut session = String::new();
    for (method, path, more) in [
        ("SETUP", "/stream=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"),
        ("SETUP", "/stream=1", "Transport: RTP/AVP/TCP;unicast;interleaved=2-3\r\n"),
        ("PLAY", "", ""),
    ] {
        let request = format!("{method} {url}{path} RTSP/1.0\r\nCSeq: 1\r\n{more}{session}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            let byte = tokio::time::timeout(SOON, stream.read_u8()).await.unwrap().unwrap();
            answer.push(char::from(byte));
        }
        assert!(answer.starts_with("RTSP/1.0 200"), "{method}: {answer}");
        if let Some(line) = answer.lines().find(|line| line.starts_with("Session: ")) {
            session = format!("{}\r\n", line.split(';').next().unwrap());
        }
    }
    stream
}

fn authority(url: &str) -> &str {
    url.trim_start_matches("rtsp://").split('/').next().unwrap()
}

/// Forty who connect, ask for something, and go away before or after the answer.
async fn come_and_go(url: &str) {
    for number in 0..40_u32 {
        let mut stream = TcpStream::connect(authority(url)).await.unwrap();
        let request = match number % 4 {
            0 => String::new(),
            1 => format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
            2 => format!(
                "SETUP {url}/stream=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
            ),
            _ => "\0GET \u{1}".repeat(50),
        };
        stream.write_all(request.as_bytes()).await.unwrap();
        if number % 8 < 2 {
            // An answer, or none to what is no request.
            tokio::time::timeout(Duration::from_millis(100), stream.read(&mut [0; 64])).await.ok();
        }
    }
}

/// An ffmpeg that plays over TCP, and is stopped (SIGSTOP) as soon as it does.
async fn stop_after_the_first_frames(url: &str) -> Running {
    let mut command = tokio::process::Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", url, "-f", "null", "-"]);
    command.args(["-nostats", "-progress", "pipe:1"]).stdout(std::process::Stdio::piped());
    let mut running = Running::start(command, "ffmpeg");
    let mut told = running.child.stdout.take().unwrap();
    let mut text = String::new();
    let mut piece = [0; 1024];
    while !text.lines().any(|line| line.strip_prefix("frame=").is_some_and(|count| count.trim() != "0")) {
        let length = tokio::time::timeout(SOON, told.read(&mut piece)).await.unwrap().unwrap();
        assert!(length > 0, "ffmpeg ended: {text}");
        text += &String::from_utf8_lossy(&piece[..length]);
    }
    running.signal(Signal::STOP);
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_refused_before_the_room_is_joined() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let output = format!("rtsp://{}/call?mode=serve", taken.local_addr().unwrap());
    // Nobody is there, and nobody is looked for.
    let mut bridge = Roomcast::start(["bridge", "mesh+ws://127.0.0.1:1/ws?room=r", "-o", &output]);
    assert_eq!(bridge.ended(SOON).await.code(), Some(2), "{}", bridge.log());
    assert!(bridge.log().contains("cannot be opened"), "{}", bridge.log());
}

/// Waits until the media server has decoded another second of both.
async fn assert_takes(server: &RtspMediaServer, bridge: &Roomcast) {
    let (pictures, sounds) = server.decoded();
    let more = async {
        while server.decoded().0 < pictures + 30 || server.decoded().1 < sounds + 40 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let came = tokio::time::timeout(SOON, more).await;
    assert!(came.is_ok(), "decoded {:?}: {}", server.decoded(), bridge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_media_server_takes_what_is_published_and_again_after_it_was_away() {
    let scene = Scene::start().await;
    let ports = [free_tcp_port(), free_tcp_port()];
    let start = |port| RtspMediaServer::start(port, "me", "s3cr@t");
    let mut servers = ports.map(start);
    let [tcp, udp] = ports;
    let outputs = [
        format!("rtsp://me:s3cr%40t@127.0.0.1:{tcp}/live"),
        format!("rtsp://me:s3cr%40t@127.0.0.1:{udp}/live?transport=udp"),
    ];
    let (mut bridge, _) = scene.bridge(&outputs.each_ref().map(String::as_str), &[]).await;
    for _ in &outputs {
        let ready = bridge.wait_event("output_ready", SOON).await;
        assert!(ready["play"]["url"].as_str().unwrap().starts_with("rtsp://127.0.0.1:"), "{ready}");
    }
    for server in &servers {
        assert_takes(server, &bridge).await;
    }
    let [first, second] = servers;
    drop(first);
    let failed = bridge.wait_event("output_failed", SOON).await;
    assert!(failed["output"].as_str().unwrap().contains(&tcp.to_string()), "{failed}");
    assert_takes(&second, &bridge).await;
    servers = [start(tcp), second];
    bridge.wait_event("output_ready", SOON).await;
    for server in &servers {
        assert_takes(server, &bridge).await;
    }
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    let told = format!("{:?}{}", bridge.events(), bridge.log());
    assert!(!told.contains("s3cr"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_media_server_that_refuses_is_named_with_its_reason() {
    let scene = Scene::start().await;
    let (port, nobody) = (free_tcp_port(), free_tcp_port());
    let _server = RtspMediaServer::start(port, "me", "s3cret");
    for (output, reason) in [
        (format!("rtsp://me:wr0ng@127.0.0.1:{port}/live"), "user or password"),
        (format!("rtsp://me:s3cret@127.0.0.1:{port}/nothing"), "no such path"),
        (format!("rtsp://me:s3cret@127.0.0.1:{nobody}/live"), "no RTSP server answers"),
    ] {
        let (mut bridge, _) = scene.bridge(&[&output], &[]).await;
        let failed: Value = bridge.wait_event("output_failed", SOON).await;
        let error = failed["error"].as_str().unwrap();
        assert!(error.contains(reason) && error.contains("127.0.0.1"), "{failed}");
        assert!(failed["retry_in"].as_f64().unwrap() > 0.0, "{failed}");
        bridge.terminate(SOON).await;
        let told = format!("{:?}{}", bridge.events(), bridge.log());
        assert!(!told.contains("wr0ng") && !told.contains("s3cret"), "{told}");
    }
}
