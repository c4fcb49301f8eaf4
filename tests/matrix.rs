//! Every output, of a real browser's VP8 and H.264, copied and transcoded, read by everything that people play with. `make matrix`
//! prints the table that the README shows.
//!
//! A cell is what a player showed of a stream that it joined in the middle; a row's last cells are decode errors and the distance
//! of lips and voice, measured by `roomcast probe` at the same time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

mod support;

use std::time::Duration;

use support::{
    Caller, FlashAndBeep, Nginx, NginxPorts, Roomcast, even_rtp_ports, free_tcp_port, free_udp_port, one_at_a_time,
    play_with_playbin, play_with_vlc, probe, read_late_with_ffmpeg,
};
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(40);
const LENGTH: Duration = Duration::from_secs(5);
/// 5 s at 15 pictures a second, less the second until the next keyframe and what a player takes to start on a busy machine.
const ENOUGH: u64 = 30;
const CAMERA: FlashAndBeep = FlashAndBeep { width: 320, height: 180, fps: 15, camera: true, microphone: true };

/// One output, and how each player opens it.
#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    /// What is asked for with `-o`; several where each player needs a port of its own.
    outputs: Vec<String>,
    ffmpeg: Vec<String>,
    vlc: Option<Vec<String>>,
    playbin: Option<String>,
    probe: String,
}

/// Where outputs of one bridge go.
struct Places {
    directory: tempfile::TempDir,
    rtmp: u16,
}

impl Places {
    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_string_lossy().into_owned()
    }

    /// An output that all players open by one URL.
    fn shared(&self, name: &'static str, output: String, url: String) -> Row {
        let vlc = Some(vec![url.clone()]);
        let playbin = Some(url.clone());
        Row { name, outputs: vec![output], ffmpeg: vec![url.clone()], vlc, playbin, probe: url }
    }

    fn rtp(&self, form: &str) -> Row {
        let ports = even_rtp_ports(16);
        let sdp = |index: u16| self.path(&format!("{}-{index}.sdp", form.len()));
        let outputs = (0..4)
            .map(|index| format!("rtp://127.0.0.1:{}?sdp={}{}", ports + 4 * index, sdp(index), with('&', form)))
            .collect();
        let whitelist = r#"{protocol_whitelist="file,udp,rtp"}"#;
        Row {
            name: "rtp:// with an SDP file",
            outputs,
            ffmpeg: vec!["-protocol_whitelist".into(), "file,rtp,udp".into(), sdp(0)],
            vlc: Some(["--demux", "avformat", "--avformat-options", whitelist, &sdp(1)].map(str::to_owned).into()),
            playbin: Some(format!("sdp://{}", sdp(2))),
            probe: sdp(3),
        }
    }

    fn ts_udp(&self, form: &str) -> Row {
        let ports = [(); 4].map(|()| free_udp_port());
        let outputs = ports.map(|port| format!("ts+udp://127.0.0.1:{port}{}", with('?', form))).into();
        let at = |index: usize| format!("udp://0.0.0.0:{}", ports[index]);
        let vlc = Some(vec![format!("udp://@:{}", ports[1])]);
        Row { name: "ts+udp://", outputs, ffmpeg: vec![at(0)], vlc, playbin: Some(at(2)), probe: at(3) }
    }

    fn srt(&self, form: &str) -> Row {
        let url = format!("srt://127.0.0.1:{}", free_udp_port());
        self.shared("srt:// to players that call", format!("{url}?mode=listener{}", with('&', form)), url)
    }

    fn rtmp(&self, form: &str) -> Row {
        let url = format!("rtmp://127.0.0.1:{}/live/key{}", self.rtmp, form.len());
        self.shared("rtmp:// through nginx", format!("{url}{}", with('?', form)), url)
    }

    fn rtsp(&self, form: &str) -> Row {
        let url = format!("rtsp://127.0.0.1:{}/call", free_tcp_port());
        let row = self.shared("rtsp:// to players that come", format!("{url}?mode=serve{}", with('&', form)), url);
        let ffmpeg = ["-rtsp_transport".to_owned(), "tcp".to_owned()].into_iter().chain(row.ffmpeg).collect();
        // Debian builds VLC without an RTSP client.
        Row { ffmpeg, vlc: None, ..row }
    }

    fn hls(&self, name: &'static str, format: &str, form: &str) -> Row {
        let directory = self.path(&format!("hls-{format}-{}", form.len()));
        let output = format!("hls:{directory}?format={format}&segment=1{}", with('&', form));
        let row = self.shared(name, output, format!("{directory}/index.m3u8"));
        // The hlsdemux of GStreamer 1.22 shows one picture of fragmented MP4, whoever made it.
        let playbin = (format == "ts").then(|| format!("file://{}", row.probe));
        Row { playbin, ..row }
    }
}

/// Settings behind others, or none.
fn with(separator: char, form: &str) -> String {
    if form.is_empty() { String::new() } else { format!("{separator}{form}") }
}

/// What one reader showed of one row.
type Cell = (usize, &'static str, String, bool);

async fn ffmpeg(row: usize, arguments: Vec<String>) -> Cell {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let reading = read_late_with_ffmpeg(&arguments, LENGTH).await;
    let good = reading.errors.is_empty() && reading.frames >= ENOUGH;
    (row, "ffmpeg", if good { reading.frames.to_string() } else { format!("{reading:?}") }, good)
}

async fn vlc(row: usize, arguments: Vec<String>) -> Cell {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let shown = play_with_vlc(&arguments, LENGTH).await;
    (row, "VLC", shown.frames.to_string(), shown.frames >= ENOUGH && shown.sounds >= ENOUGH)
}

async fn playbin(row: usize, uri: String) -> Cell {
    let shown = play_with_playbin(&uri, LENGTH).await;
    (row, "playbin", shown.frames.to_string(), shown.frames >= ENOUGH && shown.sounds >= ENOUGH)
}

/// Decode errors, and lips and voice.
async fn judge(row: usize, source: String) -> Cell {
    let mut seen = Vec::new();
    // A browser that has to wait for the machine takes pictures and sound at moments of its own, for seconds.
    for _ in 0..3 {
        let report = probe(&source, &["--duration", "8"]).await;
        let skew = report["skew"]["median_ms"].as_f64().unwrap_or(f64::NAN);
        let streams = report["streams"].as_array().cloned().unwrap_or_default();
        let errors: u64 = streams.iter().filter_map(|stream| stream["decode_errors"].as_u64()).sum();
        if skew.abs() <= 40.0 && errors == 0 && streams.len() == 2 {
            return (row, "skew", format!("{skew:.0} ms"), true);
        }
        seen.push(format!("{skew} ms, {errors} errors, {} streams", streams.len()));
    }
    (row, "skew", seen.join("; "), false)
}

/// Reads every row with everything, one row after the other, and prints the table.
async fn read_all(title: &str, rows: &[Row], bridge: &mut Roomcast) -> Vec<String> {
    for _ in rows.iter().flat_map(|row| &row.outputs) {
        bridge.wait_event("output_ready", SOON).await;
    }
    let mut faults = Vec::new();
    println!("\n| {title} | ffmpeg | VLC | playbin | lips and voice |\n|---|---|---|---|---|");
    for (index, row) in rows.iter().enumerate() {
        let mut readers = JoinSet::new();
        readers.spawn(ffmpeg(index, row.ffmpeg.clone()));
        if let Some(uri) = &row.playbin {
            readers.spawn(playbin(index, uri.clone()));
        }
        readers.spawn(judge(index, row.probe.clone()));
        if let Some(arguments) = &row.vlc {
            readers.spawn(vlc(index, arguments.clone()));
        }
        let mut cells = std::collections::BTreeMap::new();
        while let Some(cell) = readers.join_next().await {
            match cell {
                Ok((_, reader, text, good)) => {
                    if !good {
                        faults.push(format!("{title}, {}: {reader}: {text}", row.name));
                    }
                    cells.insert(reader, text);
                }
                Err(error) => faults.push(format!("{title}, {}: {error}", row.name)),
            }
        }
        let cell = |reader: &str| cells.get(reader).cloned().unwrap_or_else(|| "—".to_owned());
        let (ffmpeg, vlc, playbin, skew) = (cell("ffmpeg"), cell("VLC"), cell("playbin"), cell("skew"));
        println!("| `{}` | {ffmpeg} | {vlc} | {playbin} | {skew} |", row.name);
    }
    faults
}

/// Reads every output of a browser that sends this codec. One of ten browsers was 50 ms out of step, the same in every
/// output: where nothing else is wrong a second one is asked.
async fn matrix(codec: &str, form: &str) {
    let _turn = one_at_a_time().await;
    let (mut faults, mut log) = faults_of(codec, form).await;
    if !faults.is_empty() && faults.iter().all(|fault| fault.contains(": skew: ")) {
        println!("{faults:?}: once more, with another browser");
        (faults, log) = faults_of(codec, form).await;
    }
    assert_eq!(faults, [""; 0], "{log}");
}

/// What is wrong with the outputs of a bridge with these rows, and its log.
async fn faults_of(codec: &str, form: &str) -> (Vec<String>, String) {
    let directory = tempfile::tempdir().unwrap();
    // VLC runs as another user.
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let nginx_directory = tempfile::tempdir().unwrap();
    let ports = NginxPorts::free();
    let _nginx = Nginx::start(nginx_directory.path(), ports).await;
    let places = Places { directory, rtmp: ports.rtmp };
    let copy = "video=copy&audio=copy";
    // What a container of MPEG-TS or FLV has for sound is not what a browser sends.
    let picture = "video=copy";
    let rows = match (codec, form) {
        ("vp8", "copied") => vec![places.rtp(copy), places.rtsp(copy)],
        ("h264", "copied") => vec![
            places.rtp(copy),
            places.rtsp(copy),
            places.ts_udp(picture),
            places.srt(picture),
            places.rtmp(picture),
            places.hls("hls: with MPEG-TS", "ts", picture),
            places.hls("hls: with fMP4", "fmp4", picture),
        ],
        _ => vec![
            places.rtp(""),
            places.rtsp(""),
            places.ts_udp(""),
            places.srt(""),
            places.rtmp(""),
            places.hls("hls: with MPEG-TS", "ts", ""),
            places.hls("hls: with fMP4", "fmp4", ""),
        ],
    };
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    let outputs: Vec<_> = rows.iter().flat_map(|row| &row.outputs).flat_map(|output| ["-o", output]).collect();
    let flags = ["bridge", &room, "--size", "320x180", "--fps", "15", "--gop", "1", "--codecs", codec];
    let mut bridge = Roomcast::start(flags.into_iter().chain(outputs));
    bridge.wait_event("joined", SOON).await;
    let _caller = Caller::join(&base, "demo", CAMERA).await;
    let faults = read_all(&format!("{codec}, {form}"), &rows, &mut bridge).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    (faults, bridge.log())
}

#[tokio::test(flavor = "multi_thread")]
async fn vp8_transcoded_plays_everywhere() {
    matrix("vp8", "transcoded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vp8_copied_plays_everywhere() {
    matrix("vp8", "copied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h264_transcoded_plays_everywhere() {
    matrix("h264", "transcoded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h264_copied_plays_everywhere() {
    matrix("h264", "copied").await;
}
