//! The main job while it runs: players that join late and in the middle of a GOP play every output at once.

mod support;

use std::time::Duration;

use support::{
    Caller, FlashAndBeep, Roomcast, even_rtp_ports, one_at_a_time, play_with_playbin, play_with_vlc, probe,
    read_with_ffmpeg, receive_with_ffmpeg, serve_rtsp_with_vlc,
};

const SOON: Duration = Duration::from_secs(30);
const LENGTH: Duration = Duration::from_secs(10);
/// 10 s at 30 frames a second, less what a player takes to start on a busy machine.
const ENOUGH: u64 = 240;

/// Asserts that lips and voice are at most so many milliseconds apart in the median, and that there is no other fault.
///
/// A sender that has to wait for the machine takes pictures and sound at moments of its own, for seconds: such a measurement
/// is made again. What is really out of step stays out of step.
async fn assert_in_step(source: &str, limit: f64, args: &[&str]) {
    let mut measured = Vec::new();
    for _ in 0..3 {
        let report = probe(source, args).await;
        let skew = report["skew"]["median_ms"].as_f64().unwrap_or(f64::NAN);
        if skew.abs() <= limit {
            assert_eq!(report["faults"], serde_json::json!([]), "{source}: {report:#}");
            return;
        }
        measured.push(report["skew"].clone());
    }
    panic!("{source}: lips and voice are apart: {measured:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn players_that_join_late_show_a_browsers_call() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let directory = tempfile::tempdir().unwrap();
    // VLC runs as another user.
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let _caller = Caller::join(&base, "demo", FlashAndBeep::default()).await;

    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    let ports = even_rtp_ports(16);
    let rtp = |index: u16| format!("rtp://127.0.0.1:{}?sdp={}", ports + 4 * index, path(&format!("{index}.sdp")));
    let (first, second, third, fourth) = (rtp(0), rtp(1), rtp(2), rtp(3));
    let socket = path("live.ts");
    let (hls, ts) = (format!("hls:{}", path("www")), format!("ts+unix:{socket}"));
    let outputs = [&first, &second, &third, &fourth, &hls, &ts];
    // A small picture: the machine also runs the browser and the players.
    let flags = ["bridge", &room, "--size", "640x360"];
    let mut bridge =
        Roomcast::start(flags.into_iter().chain(outputs.iter().flat_map(|output| ["-o", output.as_str()])));
    for _ in &outputs {
        bridge.wait_event("output_ready", SOON).await;
    }

    // A player for each pair of ports, at whatever moment of the GOP it is by now.
    let sdp = path("0.sdp");
    let ffmpeg = ["-protocol_whitelist", "file,rtp,udp", &sdp];
    let (file, whitelist) = (path("1.sdp"), r#"{protocol_whitelist="file,udp,rtp"}"#);
    let vlc = ["--demux", "avformat", "--avformat-options", whitelist, &file];
    let uri = format!("sdp://{}", path("2.sdp"));
    let reading = receive_with_ffmpeg(&ffmpeg, LENGTH).await;
    assert_eq!(reading.errors, Vec::<String>::new(), "ffmpeg at the SDP");
    assert!(reading.frames >= ENOUGH, "ffmpeg at the SDP: {reading:?}");
    let shown = play_with_vlc(&vlc, LENGTH).await;
    assert!(shown.frames >= ENOUGH && shown.sounds >= ENOUGH, "VLC at the SDP: {shown:?}");
    let shown = play_with_playbin(&uri, LENGTH).await;
    assert!(shown.frames >= ENOUGH && shown.sounds >= ENOUGH, "playbin at the SDP: {shown:?}");

    let (sdp, playlist) = (path("3.sdp"), path("www/index.m3u8"));
    for source in [&sdp, &playlist, &format!("unix:{socket}")] {
        assert_in_step(source, 40.0, &["--duration", "10"]).await;
    }
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_room_plays_over_http_without_a_flag_and_lips_match_the_voice() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--size", "640x360"]).await;
    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    // A small picture: the machine also runs the bridge and the players.
    let mut person = Roomcast::start(["publish", &room, "--size", "640x360"]);
    person.wait_event("joined", SOON).await;
    // The first viewer starts the room's bridge.
    let (live, playlist) = (format!("{base}/rooms/demo/live.ts"), format!("{base}/rooms/demo/hls/index.m3u8"));
    let opened = async { while probe(&live, &["--duration", "1"]).await["streams"] == serde_json::json!([]) {} };
    tokio::time::timeout(SOON, opened).await.unwrap_or_else(|_| panic!("{live} does not open"));
    person.wait_event("published", SOON).await;

    let reading = read_with_ffmpeg(&[&live], LENGTH).await;
    assert_eq!(reading.errors, Vec::<String>::new(), "ffmpeg at live.ts");
    assert!(reading.frames >= ENOUGH, "ffmpeg at live.ts: {reading:?}");
    let shown = play_with_vlc(&[&live], LENGTH).await;
    assert!(shown.frames >= ENOUGH && shown.sounds >= ENOUGH, "VLC at live.ts: {shown:?}");
    for source in [&live, &playlist] {
        assert_in_step(source, 20.0, &["--duration", "10", "--max-skew", "60"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_vlc_serves_by_rtsp_is_probed() {
    let _turn = one_at_a_time().await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    let mut person = Roomcast::start(["publish", &room, "--size", "320x180"]);
    person.wait_event("joined", SOON).await;
    let file = directory.path().join("call.mkv");
    let size = ["--size", "320x180", "--duration", "6"];
    let mut bridge = Roomcast::start(["bridge", &room, "-o", file.to_str().unwrap()].into_iter().chain(size));
    assert!(bridge.ended(SOON).await.success(), "{}", bridge.log());

    let (_vlc, url) = serve_rtsp_with_vlc(&file);
    // A server that another process starts has no event of its own.
    let answered = async {
        loop {
            let report = probe(&url, &["--duration", "3"]).await;
            if report["streams"].as_array().is_some_and(|streams| streams.len() == 2) {
                return report;
            }
        }
    };
    let report = tokio::time::timeout(SOON, answered).await.unwrap_or_else(|_| panic!("{url} does not answer"));
    assert_eq!(report["container"], "RTSP", "{report:#}");
    let codecs: Vec<_> = report["streams"].as_array().unwrap().iter().map(|stream| stream["codec"].clone()).collect();
    assert!(codecs.contains(&"h264".into()) && codecs.contains(&"aac".into()), "{report:#}");
    for stream in report["streams"].as_array().unwrap() {
        assert!(stream["frames"].as_u64() >= Some(30), "{report:#}");
    }
}
