//! Outputs that push: MPEG-TS over UDP, SRT and RTMP, with the programs that people use at the other end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::{
    Hop, Nginx, NginxPorts, Reading, Roomcast, Running, Scene, assert_flawless, free_tcp_port, free_udp_port, piped,
    play_with_playbin, play_with_vlc, read_late_with_ffmpeg, read_with_ffmpeg, receive_late_with_ffmpeg,
};
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(30);
const LENGTH: Duration = Duration::from_secs(6);
/// 6 s at 30 frames a second, less the 2 s until the next keyframe and what a player takes to start on a busy machine.
const ENOUGH: u64 = 75;

/// In no line of any log or event.
const SECRET: &str = "s3cret-w0rd";

/// Starts a bridge that logs all it can, and waits until it is in the room.
async fn bridge(scene: &Scene, outputs: &[String], args: &[&str]) -> Roomcast {
    let room = scene.room();
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.env("RUST_LOG", "warn,roomcast=trace");
    let outputs = outputs.iter().flat_map(|output| ["-o", output]);
    let flags =
        ["bridge", &room, "--size", "320x180", "--control"].into_iter().chain(outputs).chain(args.iter().copied());
    let mut bridge = Roomcast::start_as(command, flags);
    bridge.wait_event("joined", SOON).await;
    bridge
}

/// Waits for this event of an output whose shown name begins so.
async fn wait(bridge: &mut Roomcast, event: &str, output: &str) -> Value {
    loop {
        let found = bridge.wait_event(event, SOON).await;
        if found["output"].as_str().unwrap().starts_with(output) {
            return found;
        }
    }
}

/// The first failure of each of these outputs, in their order, whatever order they come in.
async fn first_failures(bridge: &mut Roomcast, outputs: &[String]) -> Vec<String> {
    loop {
        let events = bridge.events();
        let first = |output: &String| {
            let of_output = |event: &&Value| event["output"].as_str().is_some_and(|name| name.starts_with(output));
            let failed = events.iter().filter(|event| event["event"] == "output_failed").find(of_output)?;
            assert!(failed["retry_in"].as_f64() > Some(0.0), "{failed}");
            Some(failed["error"].as_str()?.to_owned())
        };
        if let Some(found) = outputs.iter().map(first).collect() {
            return found;
        }
        bridge.wait_event("output_failed", SOON).await;
    }
}

fn assert_keeps_secrets(bridge: &Roomcast) {
    assert!(!bridge.log().contains(SECRET), "{}", bridge.log());
    for event in bridge.events() {
        assert!(!event.to_string().contains(SECRET), "{event}");
    }
}

/// What a player opens according to an event: the last word of its command.
fn source(ready: &Value, player: &str) -> String {
    ready["play"][player].as_str().unwrap().split(' ').next_back().unwrap().trim_matches('\'').to_owned()
}

fn assert_shown(reading: &Reading, what: &str) {
    assert!(reading.errors.is_empty() && reading.frames >= ENOUGH, "{what}: {reading:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ts_over_udp_plays_in_every_player_that_comes_late() {
    let scene = Scene::start().await;
    let (for_ffmpeg, for_vlc, for_playbin) = (free_udp_port(), free_udp_port(), free_udp_port());
    let group = format!("ts+udp://239.255.76.{}:{}?ttl=1&interface=lo", for_vlc % 250 + 1, free_udp_port());
    let outputs: Vec<_> = [for_ffmpeg, for_vlc, for_playbin]
        .map(|port| format!("ts+udp://127.0.0.1:{port}"))
        .into_iter()
        .chain([group.clone()])
        .collect();
    let mut bridge = bridge(&scene, &outputs, &[]).await;
    let mut ready = Vec::new();
    for _ in &outputs {
        ready.push(bridge.wait_event("output_ready", SOON).await);
    }
    let of = |output: &str| ready.iter().find(|event| event["output"] == output).unwrap();
    let address = source(of(&outputs[0]), "ffplay");
    assert_eq!(address, format!("udp://0.0.0.0:{for_ffmpeg}"));
    assert_shown(&receive_late_with_ffmpeg(&[&address], LENGTH).await, "ffmpeg");
    let address = format!("{}?localaddr=127.0.0.1", source(of(&group), "ffplay"));
    assert_shown(&receive_late_with_ffmpeg(&[&address], LENGTH).await, "ffmpeg in the group");
    let shown = play_with_vlc(&[&source(of(&outputs[1]), "vlc")], LENGTH).await;
    assert!(shown.frames >= ENOUGH && shown.sounds >= ENOUGH, "VLC: {shown:?}");
    let shown = play_with_playbin(&source(of(&outputs[2]), "gst"), LENGTH).await;
    assert!(shown.frames >= ENOUGH && shown.sounds >= ENOUGH, "playbin: {shown:?}");
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn srt_players_come_and_go_and_one_with_a_wrong_passphrase_stays_outside() {
    let scene = Scene::start().await;
    let port = free_udp_port();
    let shown_as = format!("srt://127.0.0.1:{port}");
    let output = format!("{shown_as}?mode=listener&latency=200&pbkeylen=32&passphrase={SECRET}");
    let mut bridge = bridge(&scene, &[output], &[]).await;
    let ready = bridge.wait_event("output_ready", SOON).await;
    let of = |player: &str| source(&ready, player).replace("PASSPHRASE", SECRET);
    let wrong = format!("{shown_as}?passphrase=0123456789");
    let (ffplay, gst) = (of("ffplay"), of("gst"));
    let (player, outsider) = ([ffplay.as_str()], [wrong.as_str()]);
    let (first, second, outside, shown) = tokio::join!(
        read_late_with_ffmpeg(&player, LENGTH),
        read_late_with_ffmpeg(&player, LENGTH),
        read_with_ffmpeg(&outsider, LENGTH),
        play_with_playbin(&gst, LENGTH),
    );
    assert_shown(&first, "the first ffmpeg");
    assert_shown(&second, "the second ffmpeg");
    assert_eq!(outside.frames, 0, "{outside:?}");
    assert!(shown.frames >= ENOUGH && shown.sounds >= ENOUGH, "playbin: {shown:?}");
    let shown = play_with_vlc(&[&of("vlc")], LENGTH).await;
    assert!(shown.frames >= ENOUGH && shown.sounds >= ENOUGH, "VLC: {shown:?}");
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    assert_keeps_secrets(&bridge);
}

#[tokio::test(flavor = "multi_thread")]
async fn srt_calls_a_receiver_and_says_why_it_cannot() {
    let scene = Scene::start().await;
    let [right, wrong, absent] = [(); 3].map(|()| free_udp_port());
    let listen = |port: u16, passphrase: &str| format!("srt://127.0.0.1:{port}?mode=listener&passphrase={passphrase}");
    let mut command = piped("srt-live-transmit");
    command.args([&listen(wrong, "another-word"), "file://con"]);
    let _wrong = Running::start(command, "srt-tools");
    let listener = listen(right, SECRET);
    let reading = tokio::spawn(async move { read_with_ffmpeg(&[&listener], LENGTH).await });

    let to = |port: u16| format!("srt://127.0.0.1:{port}");
    let with = |port: u16| format!("{}?passphrase={SECRET}&streamid=publish:{SECRET}", to(port));
    let mut bridge = bridge(&scene, &[with(right), with(wrong), with(absent)], &[]).await;
    wait(&mut bridge, "output_ready", &to(right)).await;
    let reading = reading.await.unwrap();
    assert_shown(&reading, "ffmpeg as a listener");
    let failures = first_failures(&mut bridge, &[to(right), to(wrong), to(absent)]).await;
    assert!(failures[0].contains("the connection was lost"), "{failures:#?}");
    assert!(failures[1].contains("the receiver refused") && failures[1].contains("passphrase"), "{failures:#?}");
    assert!(failures[2].contains("nobody answered"), "{failures:#?}");
    // Somebody comes after all.
    let listener = listen(absent, SECRET);
    let reading = tokio::spawn(async move { read_with_ffmpeg(&[&listener], LENGTH).await });
    wait(&mut bridge, "output_ready", &to(absent)).await;
    let reading = reading.await.unwrap();
    assert_shown(&reading, "ffmpeg as a listener");
    assert_eq!(bridge.terminate(SOON).await.code(), Some(4), "the others never were ready: {}", bridge.log());
    assert_keeps_secrets(&bridge);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rtmp_server_gets_the_stream_and_gets_it_again_when_it_comes_back() {
    let scene = Scene::start().await;
    let ports = NginxPorts::free();
    let nginx = Nginx::start(scene.directory.path(), ports).await;
    let (plain, tls) = (ports.rtmp, Hop::tls(ports.rtmp, scene.directory.path()).await);
    let key = |name: &str| format!("{name}-{SECRET}");
    let outputs = [
        format!("rtmp://127.0.0.1:{plain}/live/{}", key("plain")),
        format!("rtmps://127.0.0.1:{}/live/{}?insecure=1", tls.port, key("tls")),
        format!("rtmps://127.0.0.1:{}/untrusted/{SECRET}", tls.port),
    ];
    let mut bridge = bridge(&scene, &outputs, &["--gop", "1"]).await;
    for _ in 0..2 {
        bridge.wait_event("output_ready", SOON).await;
    }
    for name in ["plain", "tls"] {
        let reading = read_with_ffmpeg(&[&format!("rtmp://127.0.0.1:{plain}/live/{}", key(name))], LENGTH).await;
        assert_shown(&reading, name);
    }
    let untrusted = format!("rtmps://127.0.0.1:{}/untrusted", tls.port);
    let failures = first_failures(&mut bridge, &[untrusted]).await;
    assert!(failures[0].contains("insecure=1"), "{failures:#?}");

    nginx.kill().await;
    let live = format!("rtmp://127.0.0.1:{plain}/live/…");
    let failed = wait(&mut bridge, "output_failed", &live).await;
    assert!(failed["error"].as_str().unwrap().contains("the connection was lost"), "{failed}");
    let _nginx = Nginx::start(scene.directory.path(), ports).await;
    wait(&mut bridge, "output_ready", &live).await;
    let reading = read_with_ffmpeg(&[&format!("rtmp://127.0.0.1:{plain}/live/{}", key("plain"))], LENGTH).await;
    assert_shown(&reading, "after the restart");
    bridge.terminate(SOON).await;
    assert_keeps_secrets(&bridge);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rtmp_server_that_refuses_or_is_not_there_is_named_and_the_key_is_not() {
    let scene = Scene::start().await;
    let ports = NginxPorts::free();
    let _nginx = Nginx::start(scene.directory.path(), ports).await;
    let nobody = free_tcp_port();
    // Connections are made by the kernel, and nobody ever reads them.
    let hole = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hole = hole.local_addr().map(|address| (address.port(), hole)).unwrap();
    let places = [
        format!("rtmp://127.0.0.1:{}/unknown", ports.rtmp),
        format!("rtmp://127.0.0.1:{}/refuse", ports.rtmp),
        format!("rtmp://127.0.0.1:{}/closed", ports.rtmp),
        format!("rtmp://127.0.0.1:{nobody}/live"),
        format!("rtmp://127.0.0.1:{}/live", hole.0),
    ];
    let recording = scene.path("good.mkv");
    let outputs: Vec<_> = places.iter().map(|place| format!("{place}/{SECRET}")).chain([recording.clone()]).collect();
    let mut bridge = bridge(&scene, &outputs, &[]).await;
    let failures = first_failures(&mut bridge, &places).await;
    for (failure, expected) in failures.iter().zip([
        "does not accept the application `unknown`",
        "the stream key is wrong",
        "the stream key is wrong",
        "Connection refused",
        "no answer for 8s",
    ]) {
        assert!(failure.contains(expected), "{failures:#?}");
    }
    assert_eq!(bridge.terminate(SOON).await.code(), Some(4), "{}", bridge.log());
    assert_keeps_secrets(&bridge);
    assert_flawless(&recording, &bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_reading_is_cut_off_and_the_recording_loses_nothing() {
    let scene = Scene::start().await;
    let ports = NginxPorts::free();
    let _nginx = Nginx::start(scene.directory.path(), ports).await;
    let hop = Hop::plain(ports.rtmp);
    let (live, recording) = (format!("rtmp://127.0.0.1:{}/live", hop.port), scene.path("good.mkv"));
    // Megabytes wait in the kernel before anything stands.
    let fast = ["--video-bitrate", "8M", "--gop", "1"];
    let mut bridge = bridge(&scene, &[format!("{live}/{SECRET}"), recording.clone()], &fast).await;
    wait(&mut bridge, "output_ready", &live).await;
    hop.read(false);
    let failed = loop {
        // It is fed all the time, and events come all the time.
        if let Some(failed) = bridge.events().into_iter().find(|event| event["event"] == "output_failed") {
            break failed;
        }
        bridge.wait_event("stats", SOON).await;
    };
    assert!(failed["error"].as_str().unwrap().contains("has not read anything for 10s"), "{failed}");
    hop.read(true);
    wait(&mut bridge, "output_ready", &live).await;
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());
    assert_keeps_secrets(&bridge);
    assert_flawless(&recording, &bridge).await;
}
