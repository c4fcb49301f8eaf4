//! What one 720p30 participant costs: the bridge with RTP, HLS and Matroska, against a plain GStreamer pipeline that
//! decodes, encodes with the same settings and writes the same three from the same bitstream.
//!
//! CPU is that of each process alone, over the same 20 s of media in real time. The server and the participant are other
//! processes and do not count.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roomcast::signaling::RoomUrl;
use tokio::process::Command;

use super::input::Input;
use super::ports::even_rtp_ports;
use super::process::Running;
use super::roomcast::Roomcast;
use super::sender::Sender;
use super::table::{Table, percentile};

const ROUNDS: usize = 3;
/// Which part of the media is measured: after everything has started.
const FROM: Duration = Duration::from_secs(4);
const TO: Duration = Duration::from_secs(24);
const SOON: Duration = Duration::from_secs(30);

pub(crate) async fn measure(input: &Arc<Input>, directory: &Path, table: &mut Table) {
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=cpu", base.replace("http", "mesh+ws"));
    let (mut bridge, mut plain) = (Vec::new(), Vec::new());
    // Taken in turns: a neighbour who disturbs one disturbs the other as well.
    for round in 1..=ROUNDS {
        bridge.push(measure_bridge(&room, input, directory).await);
        plain.push(measure_plain(input, directory).await);
        eprintln!("round {round}: bridge {:.1} %, plain {:.1} %", bridge[round - 1], plain[round - 1]);
    }
    let (bridge, plain) = (percentile(&bridge, 0.5), percentile(&plain, 0.5));
    table.add(format!("CPU of the bridge, median of {ROUNDS}"), bridge, "% of a core", None);
    table.add(format!("CPU of plain gst-launch-1.0, median of {ROUNDS}"), plain, "% of a core", None);
    table.add("CPU, bridge to plain pipeline", bridge / plain, "x", Some(1.3));
}

async fn measure_bridge(room: &str, input: &Arc<Input>, directory: &Path) -> f64 {
    let path = |name: &str| directory.join(name).display().to_string();
    let rtp = format!("rtp://127.0.0.1:{}?sdp={}", even_rtp_ports(4), path("cpu.sdp"));
    let (hls, mkv) = (format!("hls:{}", path("bridge-hls")), path("bridge.mkv"));
    let mut bridge = Roomcast::start(["bridge", room, "-o", &rtp, "-o", &hls, "-o", &mkv]);
    for _ in 0..3 {
        bridge.wait_event("output_ready", SOON).await;
    }
    let url: RoomUrl = room.parse().expect("a room URL");
    let sender = Sender::join(&url, input, 1.0).await;
    let percent = over_window(bridge.id(), sender.began).await;
    sender.leave().await;
    eprintln!("  the bridge's threads since its start: {}", threads(bridge.id()));
    assert!(bridge.terminate(SOON).await.success(), "the bridge ended badly:\n{}", bridge.log());
    percent
}

async fn measure_plain(input: &Input, directory: &Path) -> f64 {
    let path = |name: &str| directory.join(name).display().to_string();
    let port = even_rtp_ports(4);
    std::fs::create_dir_all(path("plain-hls")).expect("a directory");
    let text = format!(
        "filesrc location={input} ! matroskademux name=demux
         demux.video_0 ! queue ! vp8dec ! queue max-size-buffers=5 !
           x264enc tune=zerolatency threads=1 speed-preset=superfast bitrate=2000 vbv-buf-capacity=1000 key-int-max=60
             bframes=0 option-string=scenecut=0 ! video/x-h264,profile=constrained-baseline ! tee name=v
         demux.audio_0 ! queue ! opusdec ! audioconvert ! avenc_aac bitrate=128000 ! tee name=a
         v. ! queue ! h264parse ! mkv.video_0  a. ! queue ! aacparse ! mkv.audio_0
         matroskamux name=mkv ! filesink location={mkv}
         v. ! queue ! h264parse ! hls.video  a. ! queue ! aacparse ! hls.audio
         hlssink2 name=hls location={hls}/segment%05d.ts playlist-location={hls}/index.m3u8 target-duration=2
           playlist-length=6 max-files=10
         v. ! queue ! rtph264pay pt=96 mtu=1200 config-interval=-1 aggregate-mode=zero-latency !
           udpsink host=127.0.0.1 port={port} sync=true
         a. ! queue ! aacparse ! rtpmp4gpay pt=97 mtu=1200 ! udpsink host=127.0.0.1 port={} sync=true",
        port + 2,
        input = input.file.display(),
        mkv = path("plain.mkv"),
        hls = path("plain-hls"),
    );
    let mut command = Command::new("gst-launch-1.0");
    command.arg("-q").args(text.split_whitespace());
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let mut plain = Running::start(command, "gstreamer1.0-tools");
    let percent = over_window(plain.id(), Instant::now()).await;
    assert!(plain.child.try_wait().expect("its state").is_none(), "gst-launch-1.0 ended before the media");
    let written = std::fs::metadata(path("plain.mkv")).map_or(0, |file| file.len());
    assert!(written > 1_000_000, "gst-launch-1.0 wrote {written} bytes only");
    percent
}

/// CPU time of a process while the measured part of the media flows, in percent of one core.
pub(crate) async fn over_window(pid: u32, began: Instant) -> f64 {
    tokio::time::sleep_until((began + FROM).into()).await;
    let (before, from) = (cpu_time(pid), Instant::now());
    tokio::time::sleep_until((began + TO).into()).await;
    (cpu_time(pid) - before).as_secs_f64() / from.elapsed().as_secs_f64() * 100.0
}

/// Which threads of a process took the most CPU time since it started, by their names.
pub(crate) fn threads(pid: u32) -> String {
    let mut by_name = BTreeMap::<String, f64>::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs").flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        // Names end in numbers that only tell threads of one kind apart; a thread may end while we look.
        let name = read("comm").trim().trim_end_matches(|last: char| last.is_ascii_digit()).to_owned();
        *by_name.entry(name).or_default() += parse_stat(&read("stat")).unwrap_or_default().as_secs_f64();
    }
    let mut names: Vec<_> = by_name.into_iter().filter(|(_, seconds)| *seconds >= 0.1).collect();
    names.sort_by(|a, b| b.1.total_cmp(&a.1));
    names.iter().map(|(name, seconds)| format!("{name} {seconds:.1} s")).collect::<Vec<_>>().join(", ")
}

/// User and system time of all threads, from `/proc/PID/stat` (fields 14 and 15, in hundredths of a second).
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    parse_stat(&stat).expect("a stat line")
}

fn parse_stat(stat: &str) -> Option<Duration> {
    // The name in parentheses may contain anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks()? + ticks()?) * 10))
}
