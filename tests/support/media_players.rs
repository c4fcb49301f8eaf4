//! VLC and GStreamer's playbin as viewers, without a screen or a sound card.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::players::read_with_ffmpeg;
use super::process::{Running, piped};

/// What a player showed.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Pictures.
    pub(crate) frames: u64,
    /// Blocks of sound.
    pub(crate) sounds: u64,
}

/// Plays `arguments` with VLC for `length`: its own demuxers and decoders, and instead of a screen an encoder into a file
/// whose pictures are counted.
pub(crate) async fn play_with_vlc(arguments: &[&str], length: Duration) -> Shown {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("shown.ts");
    // VLC may run as another user, who must be able to write the file.
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("a directory of our own");
    let mut command = vlc();
    let chain = format!(
        "#transcode{{vcodec=mp2v,vb=4000,fps=30,acodec=mpga,ab=128}}:std{{access=file,mux=ts,dst={}}}",
        path.display()
    );
    let seconds = length.as_secs().to_string();
    command.env("HOME", directory.path()).args(["-I", "dummy", "--run-time", &seconds, "--play-and-exit"]);
    command.args(arguments).args(["--sout", &chain, "vlc://quit"]);
    let mut running = Running::start(command, "vlc-bin vlc-plugin-base");
    let mut log = String::new();
    let mut stderr = running.child.stderr.take().expect("stderr is piped");
    let reading = async {
        stderr.read_to_string(&mut log).await.expect("VLC writes UTF-8");
        running.child.wait().await.expect("VLC ends")
    };
    let ended = timeout(length + Duration::from_secs(20), reading).await;
    assert!(path.metadata().is_ok_and(|file| file.len() > 0), "VLC showed nothing ({ended:?}):\n{log}");
    let path = path.to_string_lossy().into_owned();
    let video = read_with_ffmpeg(&["-vn", &path], Duration::from_secs(600)).await;
    let pictures = read_with_ffmpeg(&["-an", &path], Duration::from_secs(600)).await;
    // Sound is counted in blocks of 26 ms, MPEG audio's frame at 44.1 kHz.
    Shown { frames: pictures.frames, sounds: (video.seconds / 0.026) as u64 }
}

/// A file in a loop as an RTSP server of VLC's, which anybody may read. Returns it and the URL, which answers soon.
pub(crate) fn serve_rtsp_with_vlc(file: &Path) -> (Running, String) {
    let url = format!("rtsp://127.0.0.1:{}/call", super::free_tcp_port());
    let chain = format!("#rtp{{sdp={url}}}");
    let mut command = vlc();
    command.args(["-I", "dummy", "--loop", "--sout-keep", "--sout", &chain]).arg(file);
    (Running::start(command, "vlc-bin vlc-plugin-base"), url)
}

/// VLC refuses to run as root, for good reasons; then it runs as nobody.
fn vlc() -> tokio::process::Command {
    if !rustix::process::geteuid().is_root() {
        return piped("vlc");
    }
    let mut command = piped("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "vlc"]);
    command
}

/// Plays a URI with playbin for `length` after its first picture.
pub(crate) async fn play_with_playbin(uri: &str, length: Duration) -> Shown {
    gst::init().expect("GStreamer starts");
    let counter = |sink: &gst::Element| {
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        sink.static_pad("sink").expect("a sink has a pad").add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
        count
    };
    let sink = || gst::ElementFactory::make("fakesink").property("sync", true).build().expect("fakesink");
    let (video, audio) = (sink(), sink());
    let (frames, sounds) = (counter(&video), counter(&audio));
    let playbin = gst::ElementFactory::make("playbin")
        .property("uri", uri)
        .property("video-sink", &video)
        .property("audio-sink", &audio)
        .build()
        .expect("playbin is in gstreamer1.0-plugins-base");
    playbin.set_state(gst::State::Playing).expect("playbin starts");
    let bus = playbin.bus().expect("playbin has a bus");
    let (uri, seconds) = (uri.to_owned(), length.as_secs());
    let shown = tokio::task::spawn_blocking(move || {
        let (mut waited, mut played) = (0, 0);
        while waited < 20 && played < seconds {
            match bus.timed_pop_filtered(gst::ClockTime::SECOND, &[gst::MessageType::Error, gst::MessageType::Eos]) {
                Some(message) => panic!("playbin {uri}: {message:?}"),
                None if frames.load(Ordering::Relaxed) > 0 => played += 1,
                None => waited += 1,
            }
        }
        playbin.set_state(gst::State::Null).expect("playbin stops");
        Shown { frames: frames.load(Ordering::Relaxed), sounds: sounds.load(Ordering::Relaxed) }
    });
    shown.await.expect("playbin plays")
}
