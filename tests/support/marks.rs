//! Where flashes and beeps lie in a file, by ffmpeg's filters: to the picture and to the millisecond.

use std::path::Path;

use super::players::{flash_times, stream_summary};

/// What ffmpeg's filters say about a file, line by line.
async fn lines(decoder: &[&str], path: &Path, arguments: &[&str]) -> Vec<String> {
    let mut command = tokio::process::Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-nostats"]).args(decoder).arg("-i").arg(path);
    command.args(arguments).args(["-f", "null", "-"]);
    let output = command.output().await.expect("ffmpeg is installed: apt-get install ffmpeg");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
}

/// When the picture, or this part of it, turns white, in seconds of the file.
pub(crate) async fn flashes(path: &Path, crop: &str) -> Vec<f64> {
    let filter = format!("crop={crop},signalstats,metadata=mode=print:key=lavfi.signalstats.YAVG");
    flash_times(lines(&[], path, &["-map", "0:v:0", "-vf", &filter]).await.iter().map(String::as_str))
}

/// When a beep begins, in seconds of the file.
pub(crate) async fn beeps(path: &Path) -> Vec<f64> {
    let summary = stream_summary(&[path.to_str().expect("a path in UTF-8")]).await;
    let streams = summary["streams"].as_array().into_iter().flatten();
    // ffmpeg's own decoder does not hear what comes with redundancy (LBRR, RFC 6716, section 4.2.3).
    let opus = streams.into_iter().any(|stream| stream["codec_name"] == "opus");
    let decoder: &[&str] = if opus { &["-c:a", "libopus"] } else { &[] };
    let lines = lines(decoder, path, &["-map", "0:a:0", "-af", "silencedetect=noise=-30dB:d=0.4"]).await;
    let end = |line: &String| line.split_once("silence_end: ")?.1.split_whitespace().next()?.parse().ok();
    lines.iter().filter_map(end).collect()
}

/// The distance of each flash from the nearest beep, in milliseconds: positive is late sound. What has none within half a second is
/// left out.
pub(crate) fn skews(flashes: &[f64], beeps: &[f64]) -> Vec<f64> {
    let nearest = |flash: f64| beeps.iter().map(|beep| beep - flash).min_by(|a, b| a.abs().total_cmp(&b.abs()));
    flashes
        .iter()
        .filter_map(|flash| nearest(*flash))
        .filter(|skew| skew.abs() < 0.5)
        .map(|skew| skew * 1000.0)
        .collect()
}
