//! ffmpeg and ffprobe as readers of what roomcast makes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::process::{Running, piped};

/// What ffmpeg decoded.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Decoded video frames.
    pub(crate) frames: u64,
    /// Length of what was decoded.
    pub(crate) seconds: f64,
    /// Lines at level error: what a decoder complained about.
    pub(crate) errors: Vec<String>,
    /// Whether ffmpeg itself said that all went well.
    pub(crate) success: bool,
}

/// Decodes every stream of `input` (with the arguments that precede it) for `length` at most.
pub(crate) async fn read_with_ffmpeg(input: &[&str], length: Duration) -> Reading {
    let mut command = piped("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-nostats", "-loglevel", "error", "-progress", "pipe:1"]);
    let (source, before) = input.split_last().expect("an input");
    // Times stay as they came: ffmpeg would round them to ticks of the rate that it guesses from the first pictures.
    command.args(before).args([
        "-i",
        source,
        "-map",
        "0",
        "-enc_time_base",
        "-1",
        "-t",
        &length.as_secs_f64().to_string(),
        "-f",
        "null",
        "-",
    ]);
    let (stdout, stderr, success) = run(command, length + Duration::from_secs(30)).await;
    let last = |key: &str| {
        stdout.lines().rev().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')?.trim().parse::<f64>().ok())
    };
    Reading {
        frames: last("frame").unwrap_or(0.0) as u64,
        seconds: last("out_time_us").unwrap_or(0.0) / 1e6,
        errors: stderr.lines().map(str::to_owned).filter(|line| !line.trim().is_empty()).collect(),
        success,
    }
}

/// Decodes like [`read_with_ffmpeg`], and once more when the kernel threw datagrams away meanwhile because a receiver was
/// too slow to take them (`RcvbufErrors`): then this machine was busy, and what ffmpeg says is no fault of the stream.
pub(crate) async fn receive_with_ffmpeg(input: &[&str], length: Duration) -> Reading {
    receive(input, length, read_with_ffmpeg).await
}

/// Receives MPEG-TS like [`receive_with_ffmpeg`], and like [`read_late_with_ffmpeg`].
pub(crate) async fn receive_late_with_ffmpeg(input: &[&str], length: Duration) -> Reading {
    receive(input, length, read_late_with_ffmpeg).await
}

/// Decodes like [`read_with_ffmpeg`] what carries its parameter sets with its keyframes. A decoder that comes between two of
/// them says so for each picture until the next; that is left out.
pub(crate) async fn read_late_with_ffmpeg(input: &[&str], length: Duration) -> Reading {
    // The last one when ffmpeg has read the next parameter sets ahead.
    const BETWEEN_KEYFRAMES: [&str; 5] = [
        "non-existing PPS",
        "decode_slice_header error",
        "no frame!",
        "Last message repeated",
        "Missing reference picture, default is 0",
    ];
    let mut reading = read_with_ffmpeg(input, length).await;
    reading.errors.retain(|line| !BETWEEN_KEYFRAMES.iter().any(|said| line.contains(said)));
    reading
}

async fn receive(input: &[&str], length: Duration, read: impl AsyncFn(&[&str], Duration) -> Reading) -> Reading {
    let mut lost = datagrams_lost_by_receivers();
    for _ in 0..3 {
        let reading = read(input, length).await;
        let before = std::mem::replace(&mut lost, datagrams_lost_by_receivers());
        if reading.errors.is_empty() || before == lost {
            return reading;
        }
        eprintln!("{} datagrams were lost in a receiver's socket: {:?}", lost - before, reading.errors);
    }
    panic!("this machine is too busy to receive {input:?}: three times a receiver's socket ran over");
}

/// `RcvbufErrors` of UDP, from `/proc/net/snmp`: a line of names, then a line of numbers.
fn datagrams_lost_by_receivers() -> u64 {
    let text = std::fs::read_to_string("/proc/net/snmp").expect("/proc/net/snmp");
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    let (names, numbers) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut both = names.split_whitespace().zip(numbers.split_whitespace());
    let found = both.find(|(name, _)| *name == "RcvbufErrors").and_then(|(_, number)| number.parse().ok());
    found.unwrap_or_else(|| panic!("no RcvbufErrors in /proc/net/snmp: {names}"))
}

/// How many lines ffmpeg writes at level error while it decodes `input` for `length`.
pub(crate) async fn count_error_lines(input: &[&str], length: Duration) -> usize {
    read_with_ffmpeg(input, length).await.errors.len()
}

/// What ffprobe says of the streams and the format of `input`, as its JSON.
pub(crate) async fn stream_summary(input: &[&str]) -> Value {
    let mut command = piped("ffprobe");
    command.args(["-v", "error", "-print_format", "json", "-show_streams", "-show_format"]).args(input);
    let (stdout, stderr, success) = run(command, Duration::from_secs(30)).await;
    assert!(success, "ffprobe {input:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("ffprobe {input:?}: {error}\n{stdout}"))
}

/// The picture at a moment of a file, in grey, one byte a pixel, row by row.
pub(crate) async fn picture_at(path: &str, time: Duration, (width, height): (usize, usize)) -> Vec<u8> {
    let mut command = piped("ffmpeg");
    let time = time.as_secs_f64().to_string();
    command.args(["-loglevel", "error", "-ss", &time, "-i", path, "-frames:v", "1"]);
    command.args(["-f", "rawvideo", "-pix_fmt", "gray", "-"]);
    let output = command.output().await.expect("ffmpeg is installed: apt-get install ffmpeg");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout.len(), width * height, "no picture at {time} s of {path}: {error}");
    output.stdout
}

async fn run(command: tokio::process::Command, within: Duration) -> (String, String, bool) {
    let mut running = Running::start(command, "ffmpeg");
    let mut out = running.child.stdout.take().expect("stdout is piped");
    let mut err = running.child.stderr.take().expect("stderr is piped");
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let reading = async {
        let (read_out, read_err) = tokio::join!(out.read_to_string(&mut stdout), err.read_to_string(&mut stderr));
        read_out.and(read_err).expect("ffmpeg writes UTF-8");
        running.child.wait().await.expect("ffmpeg ends")
    };
    let status = timeout(within, reading).await;
    let Ok(status) = status else { panic!("ffmpeg still reads after {within:?}") };
    (stdout, stderr, status.success())
}

/// Where the stream of a file ends that ends first, in the file's own time, by what its packets say; 0 when nothing can be read.
pub(crate) async fn packets_end(file: &Path) -> f64 {
    let mut command = piped("ffprobe");
    command.args([
        "-v",
        "error",
        "-show_entries",
        "stream=index:packet=stream_index,pts_time,duration_time",
        "-of",
        "json",
    ]);
    let output = command.arg(file).output().await.expect("ffprobe is installed: apt-get install ffmpeg");
    let report: Value = serde_json::from_slice(&output.stdout).expect("ffprobe prints JSON");
    let time = |packet: &Value, name: &str| packet[name].as_str().and_then(|time| time.parse::<f64>().ok());
    let streams = report["streams"].as_array().into_iter().flatten();
    // A stream without a packet ends where it begins.
    let mut ends: BTreeMap<u64, f64> = streams.filter_map(|stream| Some((stream["index"].as_u64()?, 0.0))).collect();
    for packet in report["packets"].as_array().into_iter().flatten() {
        let Some(from) = time(packet, "pts_time") else { continue };
        let end = ends.entry(packet["stream_index"].as_u64().expect("a number")).or_default();
        *end = end.max(from + time(packet, "duration_time").unwrap_or(0.0));
    }
    let bytes = std::fs::metadata(file).map(|file| file.len());
    eprintln!(
        "{}: {bytes:?} bytes, streams end at {ends:.2?} {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    ends.into_values().reduce(f64::min).unwrap_or(0.0)
}

/// When the pictures of a recording are shown, in seconds.
pub(crate) async fn picture_times(file: &str) -> Vec<f64> {
    let mut command = piped("ffprobe");
    command.args(["-loglevel", "error", "-select_streams", "v", "-show_entries", "packet=pts_time", "-of", "csv=p=0"]);
    let output = command.arg(file).output().await.expect("ffprobe is installed: apt-get install ffmpeg");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect()
}

/// When the picture turns white, in seconds of the file, from what ffmpeg's `signalstats` prints of each picture's luma.
pub(crate) fn flash_times<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<f64> {
    let (mut time, mut frames) = (0.0, Vec::new());
    for line in lines {
        if let Some((_, rest)) = line.split_once("pts_time:") {
            time = rest.trim().parse().expect("ffmpeg prints numbers");
        } else if let Some((_, luma)) = line.split_once("signalstats.YAVG=") {
            frames.push((time, luma.trim().parse::<f64>().expect("ffmpeg prints numbers")));
        }
    }
    let white = 0.7 * frames.iter().map(|(_, luma)| *luma).fold(0.0, f64::max);
    frames.windows(2).filter(|pair| pair[0].1 < white && pair[1].1 >= white).map(|pair| pair[1].0).collect()
}
