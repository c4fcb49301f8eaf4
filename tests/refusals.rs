//! What cannot work is refused, with an exit code that tells why and a text that names the argument and the way out;
//! what may get better is tried again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use roomcast::server::{Limits, ListenAddress, ServerConfig, serve};
use support::{MeshMember, Roomcast, Scene, assert_whole, free_tcp_port};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

/// Runs `roomcast bridge` in `directory` to its end: its exit code, and what it wrote to stderr.
async fn bridge(directory: &std::path::Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.arg("bridge").args(args).current_dir(directory).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(SOON, command.output()).await.expect("a refusal ends in time").unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn bad_arguments_end_with_2_and_name_the_argument_and_the_way_out_before_anything_is_touched() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("taken.mkv")).unwrap();
    // A "server" that notices whether anybody tries to join.
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    door.set_nonblocking(true).unwrap();
    let room = &*format!("mesh+ws://{}/ws?room=r", door.local_addr().unwrap());
    let before = names(directory.path());
    for (args, expected) in [
        // The room.
        (&["gopher+ws://127.0.0.1/ws?room=r", "-o", "a.mkv"][..], &["\"gopher+ws\"", "known are mesh+ws://"][..]),
        (&["mesh+ws://127.0.0.1:99999/ws?room=r", "-o", "a.mkv"], &["mesh+ws://127.0.0.1:99999", "port"]),
        (&["mesh+ws://127.0.0.1:8080/ws", "-o", "a.mkv"], &["names no room", "add ?room=NAME"]),
        (&[room, "-o", "a.mkv", "--name", "two words"], &["\"two words\"", "1 to 64"]),
        // The outputs.
        (&[room], &["--output <URL>"]),
        (&[room, "-o", "gopher://x/y"], &["output `gopher://x/y`", "unknown scheme `gopher`", ".mkv"]),
        (&[room, "-o", "rtp://127.0.0.1:5005"], &["output `rtp://127.0.0.1:5005`", "odd", "try 5004"]),
        (&[room, "-o", "rtp://127.0.0.1:70000"], &["output `rtp://127.0.0.1:70000`", "invalid port"]),
        (&[room, "-o", "/proc/none/a.mkv"], &["output `/proc/none/a.mkv`", "/proc/none", "cannot be written"]),
        (&[room, "-o", "hls:/proc/none"], &["output `hls:/proc/none`", "cannot be written"]),
        (&[room, "-o", "taken.mkv"], &["output `taken.mkv`", "is a directory"]),
        (
            &[room, "-o", "hls:www?segments=3"],
            &["output `hls:www?segments=3`", "`segments`", "this output has", "segment,"],
        ),
        (&[room, "-o", "rtp://127.0.0.1:5004?delay=1"], &["unknown setting `delay`", "this output has", "latency,"]),
        (&[room, "-o", "hls:www?segment=0"], &["output `hls:www?segment=0`", "1 to 60"]),
        // Two outputs in each other's way, however they are spelt.
        (&[room, "-o", "a.mkv", "-o", "a.mkv"], &["output `a.mkv`", "is used by"]),
        (&[room, "-o", "a.mkv", "-o", "./b/../a.mkv"], &["output `./b/../a.mkv`", "is used by output `a.mkv`"]),
        (
            &[room, "-o", "rtp://127.0.0.1:5004", "-o", "rtp://127.0.0.1:5006"],
            &["output `rtp://127.0.0.1:5006`", "port 5006", "is used by output `rtp://127.0.0.1:5004`"],
        ),
        (&[room, "-o", "rtp://127.0.0.1:5004?sdp=a.mkv", "-o", "a.mkv"], &["output `a.mkv`", "is used by"]),
        (&[room, "-o", "a.mkv", "--report", "./a.mkv"], &["--report ./a.mkv", "output `a.mkv`"]),
        // The settings.
        (&[room, "-o", "a.mkv", "--codecs", "vp8,h266"], &["--codecs", "`h266`", "use auto or vp8, h264"]),
        (&[room, "-o", "a.mkv", "--encoder", "magic"], &["--encoder", "`magic`", "use auto"]),
        (&[room, "-o", "a.mkv", "--size", "big"], &["--size", "`big`", "like 1280x720"]),
        (&[room, "-o", "a.mkv", "--size", "1281x720"], &["--size", "`1281x720`", "even numbers"]),
        (&[room, "-o", "a.mkv", "--size", "0x0"], &["--size", "`0x0`", "from 16"]),
        (&[room, "-o", "a.mkv", "--fps", "0"], &["--fps 0", "1 to 120"]),
        (&[room, "-o", "a.mkv", "--gop", "nan"], &["--gop NaN", "0.1 to 60"]),
        (&[room, "-o", "a.mkv", "--video-bitrate", "fast"], &["--video-bitrate", "write 2M"]),
        (&[room, "-o", "a.mkv", "--preset", "warp"], &["--preset", "superfast"]),
        (&[room, "-o", "a.mkv", "--ice-server", "example.org"], &["--ice-server", "stun:HOST:PORT"]),
        (&[room, "-o", "a.mkv", "--report", "/proc/none/r.json"], &["--report /proc/none/r.json", "cannot be written"]),
        (&[room, "-o", "a.mkv", "--report", "r.json", "--fps", "999"], &["--fps 999"]),
        (&[room, "-o", "a.mkv", "--shape", "round"], &["'--shape'"]),
    ] {
        let (code, text) = bridge(directory.path(), args).await;
        assert_eq!(code, Some(2), "{args:?}: {text}");
        for part in expected {
            assert!(text.contains(part), "{args:?}: {part:?} is not in: {text}");
        }
        assert!(!text.contains("panicked"), "{args:?}: {text}");
    }
    assert!(door.accept().is_err(), "somebody tried to join");
    assert_eq!(names(directory.path()), before, "a refused run leaves nothing behind");
}

fn names(directory: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_room_that_stays_shut_ends_with_3_and_leaves_no_recording() {
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let directory = tempfile::tempdir().unwrap();
    let host = base.strip_prefix("http://").unwrap();
    let url = |scheme: &str, rest: &str| format!("{scheme}://{host}/ws?room=r{rest}");
    let _first = MeshMember::join(&base, "r", "recorder").await;
    let nobody = format!("mesh+ws://127.0.0.1:{}/ws?room=r", free_tcp_port());
    let (same, tls, origin) = (url("mesh+ws", ""), url("mesh+wss", ""), url("mesh+ws", "&origin=http://evil.example"));
    for (args, expected) in [
        (&[&*nobody][..], &["cannot reach 127.0.0.1", "that the server runs"][..]),
        (&[&*same, "--name", "recorder"], &["the id \"recorder\" is taken in room \"r\"", "choose another"]),
        (&[&*tls], &["TLS with 127.0.0.1", "ws:// instead of wss://"]),
        (&[&*origin], &["refuses the origin http://evil.example (HTTP 403)", "origin="]),
    ] {
        let args: Vec<_> = args.iter().chain(&["-o", "a.mkv", "--size", "320x180"]).copied().collect();
        let (code, text) = bridge(directory.path(), &args).await;
        assert_eq!(code, Some(3), "{args:?}: {text}");
        for part in expected {
            assert!(text.contains(part), "{args:?}: {part:?} is not in: {text}");
        }
        assert_eq!(names(directory.path()), Vec::<String>::new(), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_bridges_of_one_name_do_not_push_each_other_out() {
    let scene = Scene::start().await;
    let (mut first, wall) = scene.bridge(&[&scene.path("a.mkv")], &["--name", "recorder"]).await;
    let args = [&*scene.room(), "--name", "recorder", "-o", "b.mkv", "--size", "320x180"];
    let (code, text) = bridge(scene.directory.path(), &args).await;
    assert_eq!(code, Some(3), "{text}");
    first.wait_event("output_ready", SOON).await;
    let end = wall.now();
    assert!(first.terminate(SOON).await.success(), "{}", first.log());
    assert_whole(&scene.path("a.mkv"), end, &first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_room_is_asked_again_until_a_place_is_free() {
    let cancel = CancellationToken::new();
    let _end = cancel.clone().drop_guard();
    let listen = ListenAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
    let limits = Limits { members: 1, ..Limits::default() };
    let server = serve(ServerConfig { listen, limits, ..ServerConfig::default() }, cancel).await.unwrap();
    let base = format!("http://{}", server.addr());
    let member = MeshMember::join(&base, "r", "first").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.mkv");
    let room = format!("mesh+ws://{}/ws?room=r", server.addr());
    let mut bridge = Roomcast::start(["bridge", &room, "--size", "320x180", "-o", file.to_str().unwrap()]);
    let refused = bridge.wait_event("reconnecting", SOON).await;
    assert!(refused["reason"].as_str().unwrap().contains("room_full"), "{refused}");
    assert!(!file.exists(), "no recording before there is a room");
    drop(member);
    bridge.wait_event("joined", SOON).await;
    bridge.wait_event("output_ready", SOON).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_is_joined_again_and_the_recording_has_no_gap() {
    let mut scene = Scene::start().await;
    let (mut bridge, wall) = scene.bridge(&[&scene.path("a.mkv")], &[]).await;
    bridge.wait_event("track_started", SOON).await;
    bridge.wait_event("track_started", SOON).await;
    let port = scene.base.rsplit_once(':').unwrap().1.parse().unwrap();
    scene.server.kill().await;
    let lost = bridge.wait_event("reconnecting", SOON).await;
    assert_eq!(lost["what"], "the room", "{lost}");
    scene.server = Roomcast::serve_on(port, &["--no-bridges"]).await;
    bridge.wait_event("joined", SOON).await;
    // The participants find each other again, too: a flash each second reaches the recording before and after.
    bridge.wait_event("stats", SOON).await;
    bridge.wait_event("stats", SOON).await;
    let end = wall.now();
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());
    let report = assert_whole(&scene.path("a.mkv"), end, &bridge).await;
    let events = bridge.events();
    assert!(!events.iter().any(|event| event["event"] == "track_stalled"), "{events:#?}");
    let flashes = report["skew"]["count"].as_f64().unwrap_or(0.0);
    assert!(flashes >= end.floor() - 2.0, "{flashes} flashes in {end} s: {report:#}\n{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_element_is_named_with_its_package_before_the_room_is_dialed() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_roomcast"));
    // A GStreamer without any plugin.
    command
        .env("GST_PLUGIN_SYSTEM_PATH_1_0", directory.path())
        .env("GST_REGISTRY_1_0", directory.path().join("registry"));
    command.args(["bridge", "mesh+ws://127.0.0.1:9/ws?room=demo", "-o"]).arg(directory.path().join("a.mkv"));
    let output = command.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("apt install gstreamer1.0-"), "{text}");
}
