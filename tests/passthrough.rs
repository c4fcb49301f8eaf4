//! A participant's own RTP, passed on: players that join in the middle show it at once, and whoever takes over goes on in the
//! same stream.

#![allow(clippy::unwrap_used, reason = "a test that fails here has failed")]

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::{
    Caller, FlashAndBeep, Reading, Roomcast, even_rtp_ports, one_at_a_time, play_with_playbin, play_with_vlc, probe,
    receive_with_ffmpeg,
};

const SOON: Duration = Duration::from_secs(30);
const SMALL: FlashAndBeep = FlashAndBeep { width: 320, height: 180, fps: 15, camera: true, microphone: true };
const WHITELIST: [&str; 2] = ["-protocol_whitelist", "file,rtp,udp,srtp"];

/// A place for SDP files that VLC, as another user, may read.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }
}

async fn room() -> (Roomcast, String, String) {
    let (server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    (server, base, room)
}

/// Nothing was mixed nor decoded in the last five seconds.
async fn assert_nothing_decoded(bridge: &mut Roomcast) {
    bridge.wait_event("stats", SOON).await;
    let stats = bridge.wait_event("stats", SOON).await;
    assert_eq!((&stats["fps"], &stats["participants"][0]["fps"]), (&Value::from(0.0), &Value::from(0.0)), "{stats:#}");
}

/// What ffmpeg complained about; but not that two pictures fell on one tick of its counter (`15 >= 15`), which at the rate of a
/// camera that has to wait for a busy machine is no fault of the stream.
fn complaints(reading: &Reading) -> Vec<&String> {
    let one_tick = |line: &str| line.rsplit_once(' ').is_some_and(|(rest, b)| rest.ends_with(&format!(" {b} >=")));
    reading.errors.iter().filter(|line| !(line.contains("dts to muxer") && one_tick(line))).collect()
}

/// ffmpeg's error lines and pictures in `seconds` of an SDP, of which it takes no more than two to show the first.
async fn assert_ffmpeg_plays(sdp: &str, seconds: u64, bridge: &Roomcast) {
    let [option, value] = WHITELIST;
    let began = Instant::now();
    let reading = receive_with_ffmpeg(&[option, value, sdp], Duration::from_secs(seconds)).await;
    assert_eq!(complaints(&reading), Vec::<&String>::new(), "{}", bridge.log());
    assert!(reading.frames >= 10 * (seconds - 2), "{reading:?} in {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn players_that_join_late_show_a_browsers_own_vp8_and_h264() {
    let _turn = one_at_a_time().await;
    let (_server, base, room) = room().await;
    for codec in ["vp8", "h264"] {
        let files = Files::new();
        let ports = even_rtp_ports(12);
        let outputs = [0, 1, 2].map(|index| {
            let sdp = files.path(&format!("{index}.sdp"));
            format!("rtp://127.0.0.1:{}?sdp={sdp}&video=copy&audio=copy&keyframe=1", ports + 4 * index)
        });
        let flags = ["bridge", &room, "--codecs", codec];
        let mut bridge =
            Roomcast::start(flags.into_iter().chain(outputs.iter().flat_map(|output| ["-o", output.as_str()])));
        bridge.wait_event("joined", SOON).await;
        let caller = Caller::join(&base, "demo", SMALL).await;
        for _ in &outputs {
            bridge.wait_event("output_ready", SOON).await;
        }
        assert_nothing_decoded(&mut bridge).await;
        let text = std::fs::read_to_string(files.path("0.sdp")).unwrap();
        let expected = if codec == "vp8" { "a=rtpmap:96 VP8/90000" } else { "sprop-parameter-sets=" };
        assert!(text.contains(expected) && text.contains("a=rtpmap:111 opus/48000/2"), "{text}");

        assert_ffmpeg_plays(&files.path("0.sdp"), 6, &bridge).await;
        let (file, whitelist) = (files.path("1.sdp"), r#"{protocol_whitelist="file,udp,rtp"}"#);
        let vlc = ["--demux", "avformat", "--avformat-options", whitelist, &file];
        let shown = play_with_vlc(&vlc, Duration::from_secs(6)).await;
        assert!(shown.frames >= 40 && shown.sounds >= 40, "VLC: {shown:?}");
        let shown = play_with_playbin(&format!("sdp://{}", files.path("2.sdp")), Duration::from_secs(4)).await;
        assert!(shown.frames >= 40 && shown.sounds >= 40, "playbin: {shown:?}");
        // A busy browser may leave out a picture: a gap in what it sends is no fault of the output.
        let report = probe(&files.path("0.sdp"), &["--duration", "6"]).await;
        let errors: Vec<_> = report["streams"].as_array().unwrap().iter().map(|one| &one["decode_errors"]).collect();
        assert_eq!(errors, [0, 0], "{report:#}");
        assert!(report["skew"]["median_ms"].as_f64().unwrap().abs() <= 60.0, "{report:#}");
        assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
        drop(caller);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_over_goes_on_in_the_same_stream_and_a_new_codec_in_a_new_sdp() {
    let _turn = one_at_a_time().await;
    let (_server, base, room) = room().await;
    let (files, port) = (Files::new(), even_rtp_ports(4));
    let sdp = files.path("call.sdp");
    let output = format!("rtp://127.0.0.1:{port}?sdp={sdp}&video=copy&audio=copy&keyframe=1");
    // A browser sends what is asked for first; the test participant has VP8 only.
    let mut bridge = Roomcast::start(["bridge", &room, "--codecs", "h264,vp8", "-o", &output]);
    bridge.wait_event("joined", SOON).await;
    let publish = || Roomcast::start(["publish", &room, "--size", "320x180", "--fps", "15"]);
    let mut first = publish();
    bridge.wait_event("output_ready", SOON).await;
    let described = std::fs::read_to_string(&sdp).unwrap();
    let reader = tokio::spawn({
        let sdp = sdp.clone();
        async move { receive_with_ffmpeg(&["-protocol_whitelist", "file,rtp,udp", &sdp], Duration::from_secs(14)).await }
    });
    // What flows for this long is what the reader shows of the first one.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(first.terminate(SOON).await.success(), "{}", first.log());
    bridge.wait_event("participant_left", SOON).await;
    let mut second = publish();
    let reading = reader.await.unwrap();
    assert_eq!(complaints(&reading), Vec::<&String>::new(), "{}", bridge.log());
    assert!(reading.frames >= 100, "{reading:?}");
    let now = std::fs::read_to_string(&sdp).unwrap();
    let without_origin =
        |text: &str| text.lines().filter(|line| !line.starts_with("o=")).collect::<Vec<_>>().join("\n");
    assert_eq!(without_origin(&now), without_origin(&described));

    assert!(second.terminate(SOON).await.success(), "{}", second.log());
    let _caller = Caller::join(&base, "demo", SMALL).await;
    // That a file is another one has no event of its own.
    let issued = async {
        while !std::fs::read_to_string(&sdp).unwrap().contains("a=rtpmap:102 H264/90000") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, issued).await.unwrap_or_else(|_| panic!("no new SDP:\n{}", bridge.log()));
    let version = |text: &str| text.split(' ').nth(2).and_then(|version| version.parse::<u64>().ok()).unwrap();
    let text = std::fs::read_to_string(&sdp).unwrap();
    assert!(version(&text) > version(&described) && text.contains("sprop-parameter-sets="), "{text}");
    assert_ffmpeg_plays(&sdp, 4, &bridge).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_a_further_receiver_and_telephone_sound() {
    let _turn = one_at_a_time().await;
    let (_server, _, room) = room().await;
    let (files, ports) = (Files::new(), even_rtp_ports(12));
    let [group, phone, mixed] = ["group.sdp", "phone.sdp", "mixed.sdp"].map(|name| files.path(name));
    let copies = format!(
        "rtp://239.7.3.1:{ports}?interface=127.0.0.1&ttl=0&to=127.0.0.1:{}&sdp={group}&video=copy&audio=copy&keyframe=1",
        ports + 4
    );
    let telephone = format!("rtp://127.0.0.1:{}?video=none&audio=pcmu&sdp={phone}", ports + 8);
    let opus = format!("rtp://239.7.3.1:{}?interface=lo&ttl=0&video=none&audio=opus&sdp={mixed}", ports + 8);
    let mut bridge =
        Roomcast::start(["bridge", &room, "--size", "320x180", "-o", &copies, "-o", &telephone, "-o", &opus]);
    bridge.wait_event("joined", SOON).await;
    let _person = Roomcast::start(["publish", &room, "--size", "320x180", "--fps", "15"]);
    for _ in 0..3 {
        bridge.wait_event("output_ready", SOON).await;
    }
    let length = Duration::from_secs(4);
    let text = std::fs::read_to_string(&group).unwrap();
    assert!(text.contains("c=IN IP4 239.7.3.1/0\r\n"), "{text}");
    let [option, value] = WHITELIST;
    let reading = receive_with_ffmpeg(&[option, value, "-localaddr", "127.0.0.1", &group], length).await;
    assert!(reading.errors.is_empty() && reading.frames >= 25, "the group: {reading:?}\n{}", bridge.log());
    assert_ffmpeg_plays(&files.path("group.2.sdp"), 4, &bridge).await;
    let text = std::fs::read_to_string(&phone).unwrap();
    assert!(text.contains("RTP/AVP 0\r\n") && text.contains("a=rtpmap:0 PCMU/8000\r\n"), "{text}");
    let reading = receive_with_ffmpeg(&[option, value, &phone], length).await;
    assert!(reading.errors.is_empty() && reading.seconds >= 3.0, "the telephone: {reading:?}\n{}", bridge.log());
    let reading = receive_with_ffmpeg(&[option, value, "-localaddr", "127.0.0.1", &mixed], length).await;
    assert!(reading.errors.is_empty() && reading.seconds >= 3.0, "the mix as Opus: {reading:?}\n{}", bridge.log());
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_and_the_mix_are_encrypted_and_ffmpeg_decrypts_them() {
    let _turn = one_at_a_time().await;
    let (_server, _, room) = room().await;
    let (files, ports) = (Files::new(), even_rtp_ports(8));
    let (copied, mixed) = (files.path("copied.sdp"), files.path("mixed.sdp"));
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5";
    let copy = format!("rtp://127.0.0.1:{ports}?video=copy&audio=copy&keyframe=1&sdp={copied}&key={key}");
    let mix = format!("rtp://127.0.0.1:{}?sdp={mixed}&key={key}", ports + 4);
    let mut bridge = Roomcast::start(["bridge", &room, "--size", "320x180", "-o", &copy, "-o", &mix]);
    bridge.wait_event("joined", SOON).await;
    let _person = Roomcast::start(["publish", &room, "--size", "320x180", "--fps", "15"]);
    for _ in 0..2 {
        let ready = bridge.wait_event("output_ready", SOON).await;
        assert!(!ready.to_string().contains(key), "{ready}");
    }
    for sdp in [&copied, &mixed] {
        let text = std::fs::read_to_string(sdp).unwrap();
        assert_eq!((text.matches("RTP/SAVP ").count(), text.matches(key).count()), (2, 2), "{text}");
        let [option, value] = WHITELIST;
        let reading = receive_with_ffmpeg(&[option, value, sdp], Duration::from_secs(4)).await;
        // How ffmpeg takes the first sender reports, and a picture in the middle of a group as its first one, is no matter of
        // encryption: what is decrypted wrongly shows nothing at all.
        let joining = ["non monotonically", "Missing reference picture", "decode_slice_header error"];
        let undecoded: Vec<_> =
            reading.errors.iter().filter(|line| !joining.iter().any(|known| line.contains(known))).collect();
        assert!(undecoded.is_empty() && reading.frames >= 25, "{sdp}: {reading:?}\n{}", bridge.log());
    }
    // With another key nothing can be seen.
    let wrong = std::fs::read_to_string(&copied).unwrap().replace(key, &key.replace('M', "N"));
    let other = files.path("wrong.sdp");
    std::fs::write(&other, wrong).unwrap();
    let report = probe(&other, &["--timeout", "3", "--duration", "2"]).await;
    assert_eq!(report["streams"], serde_json::json!([]), "{report:#}");
    assert!(!bridge.log().contains(key));
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
}
