//! `probe` on files and streams with known properties, made by ffmpeg: what it reports must be what was put in.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use roomcast::probe::{self, Expectations, Fault, ProbeError, ProbeOptions, Report, Shape, Source, Wanted};
use roomcast::terms::MediaKind;
use tempfile::TempDir;

const BOTH: Wanted = Wanted { video: true, audio: true };
const X264: [&str; 8] = ["-c:v", "libx264", "-preset", "superfast", "-tune", "zerolatency", "-g", "60"];

/// Twelve seconds of a moving picture that flashes on each full second from 1 on, and of silence that beeps `late_ms` after each
/// flash, written by ffmpeg with `arguments`.
fn flash_and_beep(late_ms: i64, arguments: &[&str]) {
    let picture = "testsrc2=s=640x360:r=30:d=12";
    let phase = format!("mod(t-({late_ms}/1000)+1,1)");
    let sound = format!("aevalsrc='if(gte(t,0.5)*lt({phase},0.1),0.5*sin(2*PI*1000*{phase}),0)':s=48000:c=stereo:d=12");
    let flash = "eq=brightness='if(gte(t,0.5)*lt(mod(t,1),0.066),0.6,0)':eval=frame";
    let inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", &sound, "-vf", flash];
    ffmpeg(&[&inputs, arguments].concat());
}

fn ffmpeg(arguments: &[&str]) {
    let output = Command::new("ffmpeg").args(["-v", "error", "-nostdin", "-y"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "ffmpeg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A file of twelve seconds in a directory of its own.
fn file(name: &str, late_ms: i64, codecs: &[&str]) -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join(name);
    flash_and_beep(late_ms, &[codecs, &["-y", path.to_str().unwrap()]].concat());
    (directory, path)
}

fn h264(extra: &[&'static str]) -> Vec<&'static str> {
    [&X264[..], &["-pix_fmt", "yuv420p", "-c:a", "aac"], extra].concat()
}

fn options(timeout_s: u64) -> ProbeOptions {
    ProbeOptions { timeout: Duration::from_secs(timeout_s), ..ProbeOptions::default() }
}

async fn measure(path: &Path) -> Report {
    probe::run(Source::File(path.to_owned()), options(5)).await.unwrap()
}

fn faults(report: &Report) -> Vec<Fault> {
    probe::judge(report, Expectations { video: true, audio: true, max_skew: None })
}

fn assert_skew(report: &Report, expected_ms: f64) {
    let skew = report.skew.expect("flash and beep are found");
    assert!((skew.median_ms - expected_ms).abs() <= 10.0, "median {} ms, put in {expected_ms}", skew.median_ms);
    assert!(skew.count >= 4, "{} pairs", skew.count);
}

#[tokio::test]
async fn clean_files_of_every_container_have_no_fault_and_the_form_that_was_put_in() {
    let vp8 = ["-c:v", "libvpx", "-deadline", "realtime", "-b:v", "1M", "-c:a", "libopus"];
    let fragmented = h264(&["-movflags", "frag_keyframe+empty_moov"]);
    let cases: [(&str, Vec<&str>, &str, [&str; 2]); 5] = [
        ("call.mkv", h264(&[]), "Matroska", ["h264", "aac"]),
        ("call.mp4", h264(&[]), "MP4", ["h264", "aac"]),
        ("fragmented.mp4", fragmented, "MP4", ["h264", "aac"]),
        ("call.ts", h264(&[]), "MPEG-TS", ["h264", "aac"]),
        ("call.webm", vp8.to_vec(), "WebM", ["vp8", "opus"]),
    ];
    for (name, codecs, container, [video, audio]) in cases {
        let (_directory, path) = file(name, 0, &codecs);
        let report = measure(&path).await;
        assert_eq!(faults(&report), [], "{name}");
        assert_eq!(report.container.as_deref(), Some(container), "{name}");
        let picture = report.streams_of(MediaKind::Video).next().unwrap();
        let sound = report.streams_of(MediaKind::Audio).next().unwrap();
        assert_eq!([picture.codec.as_str(), sound.codec.as_str()], [video, audio], "{name}");
        let Shape::Video { width, height, fps, .. } = picture.shape else { panic!("{name}: {picture:?}") };
        assert_eq!((width, height, picture.frames), (640, 360, 360), "{name}");
        assert!((fps - 30.0).abs() < 0.2, "{name}: {fps} fps");
        assert_eq!(sound.shape, Shape::Audio { channels: 2, rate: 48_000 }, "{name}");
        assert!((picture.duration - 12.0).abs() < 0.05, "{name}: {} s of video", picture.duration);
        assert!((sound.duration - 12.0).abs() < 0.1, "{name}: {} s of audio", sound.duration);
        assert_skew(&report, 0.0);
    }
}

#[tokio::test]
async fn sound_that_is_late_or_early_is_measured_with_its_sign() {
    for (late_ms, max_skew_ms, is_fault) in [(100, 80, true), (-60, 80, false), (-60, 40, true)] {
        let (_directory, path) = file("call.mkv", late_ms, &h264(&[]));
        let report = measure(&path).await;
        assert_skew(&report, late_ms as f64);
        let max_skew = Some(Duration::from_millis(max_skew_ms));
        let faults = probe::judge(&report, Expectations { max_skew, ..Expectations::default() });
        assert_eq!(matches!(faults[..], [Fault::Skew { .. }]), is_fault, "{late_ms} ms: {faults:?}");
    }
}

#[tokio::test]
async fn a_gap_is_found_where_it_is_and_as_long_as_it_is() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("gap.mkv");
    let cut = "select='not(between(t,2.99,3.49))'";
    ffmpeg(
        &[
            &[
                "-f",
                "lavfi",
                "-i",
                "testsrc2=s=320x180:r=30:d=12",
                "-f",
                "lavfi",
                "-i",
                "sine=r=48000:d=12",
                "-vf",
                cut,
            ][..],
            &["-vsync", "vfr"],
            &h264(&[])[..],
            &[path.to_str().unwrap()],
        ]
        .concat(),
    );
    let report = measure(&path).await;
    let faults = faults(&report);
    let [Fault::Gaps { kind: MediaKind::Video, count: 1, first, .. }] = &faults[..] else { panic!("{faults:?}") };
    assert!((first.at - 3.0).abs() < 0.06, "at {}", first.at);
    assert!((first.length - 0.5).abs() < 0.04, "for {}", first.length);
}

#[tokio::test]
async fn damage_is_counted_as_decode_errors() {
    let (_directory, path) = file("call.ts", 0, &h264(&[]));
    let mut bytes = std::fs::read(&path).unwrap();
    let (from, to) = (bytes.len() / 3, bytes.len() * 2 / 3);
    bytes[from..to].iter_mut().step_by(4001).for_each(|byte| *byte ^= 0xff);
    let damaged = path.with_file_name("damaged.ts");
    std::fs::write(&damaged, bytes).unwrap();
    let report = measure(&damaged).await;
    let video = report.streams_of(MediaKind::Video).next().unwrap();
    assert!(video.decode_errors > 0, "{video:?}");
    assert!(video.decode_error.is_some(), "{video:?}");
    // In the same process, and while nothing is wrong: errors belong to the decoder that made them.
    assert_eq!(faults(&measure(&path).await), []);
}

#[tokio::test]
async fn an_mp4_without_its_index_cannot_be_played_and_a_cut_off_mkv_can() {
    for (name, is_playable) in [("call.mp4", false), ("call.mkv", true)] {
        let (_directory, path) = file(name, 0, &h264(&[]));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let report = measure(&path).await;
        let is_silent = faults(&report).contains(&Fault::NothingDecoded);
        assert_eq!(is_silent, !is_playable, "{name}: {report:?}");
        let result = probe::first_frames(Source::File(path), BOTH, Duration::from_secs(1)).await;
        assert_eq!(result.is_ok(), is_playable, "{name}: {result:?}");
    }
}

#[tokio::test]
async fn files_that_are_being_written_are_playable_once_they_hold_a_few_frames() {
    for (name, extra) in [("call.mkv", &[][..]), ("call.mp4", &["-movflags", "frag_keyframe+empty_moov"])] {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join(name);
        let mut writer =
            Running::ffmpeg(
                &[
                    &[
                        "-re",
                        "-f",
                        "lavfi",
                        "-i",
                        "testsrc2=s=320x180:r=30",
                        "-re",
                        "-f",
                        "lavfi",
                        "-i",
                        "sine=r=48000",
                    ][..],
                    &X264[..6],
                    &["-g", "30", "-c:a", "aac", "-flush_packets", "1"],
                    extra,
                    &[path.to_str().unwrap()],
                ]
                .concat(),
            );
        // The file does not even exist when the probe begins.
        let frames = probe::first_frames(Source::File(path), BOTH, Duration::from_secs(15)).await.unwrap();
        assert!(frames.video >= 3 && frames.audio >= 5, "{name}: {frames:?}");
        assert!(writer.is_alive(), "{name} was complete");
    }
}

#[tokio::test]
async fn hls_is_played_from_its_playlist() {
    let directory = TempDir::new().unwrap();
    let playlist = directory.path().join("index.m3u8");
    flash_and_beep(
        0,
        &[&h264(&["-f", "hls", "-hls_time", "2", "-hls_list_size", "0"])[..], &[playlist.to_str().unwrap()]].concat(),
    );
    let report = measure(&playlist).await;
    assert_eq!(faults(&report), []);
    assert_eq!(report.container.as_deref(), Some("HLS / MPEG-TS"));
    assert_eq!(report.streams_of(MediaKind::Video).next().unwrap().frames, 360);
    assert_skew(&report, 0.0);
    let error = probe::run(Source::File(directory.path().into()), options(1)).await.unwrap_err();
    assert!(error.to_string().ends_with("it is a directory; its playlist is index.m3u8"), "{error}");
}

#[tokio::test]
async fn mpeg_ts_is_read_from_a_unix_socket() {
    let (directory, path) = file("call.ts", 0, &h264(&[]));
    let socket = directory.path().join("live.ts");
    let listener = UnixListener::bind(&socket).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let server = std::thread::spawn(move || listener.accept().unwrap().0.write_all(&bytes).unwrap());
    let source: Source = format!("unix:{}", socket.display()).parse().unwrap();
    let report = probe::run(source, options(5)).await.unwrap();
    server.join().unwrap();
    assert_eq!(faults(&report), []);
    assert_skew(&report, 0.0);
}

#[tokio::test]
async fn rtp_is_received_by_its_sdp_and_measured_while_it_is_sent() {
    let port = even_port();
    let sdp = sdp(port);
    let (_directory, path) = file("call.mkv", 50, &h264(&[]));
    let _sender = rtp_sender(port, &path);
    let frames = probe::first_frames(Source::Sdp(sdp.clone()), BOTH, Duration::from_secs(10)).await.unwrap();
    assert!(frames.video >= 3 && frames.audio >= 5, "{frames:?}");
    let live = ProbeOptions { duration: Some(Duration::from_secs(8)), ..options(5) };
    let report = probe::run(Source::Sdp(sdp), live).await.unwrap();
    assert_eq!(faults(&report), []);
    assert_eq!(report.container.as_deref(), Some("RTP"));
    assert!((report.streams_of(MediaKind::Video).next().unwrap().duration - 8.0).abs() < 0.5, "{report:?}");
    assert_skew(&report, 50.0);
}

#[tokio::test]
async fn silence_on_an_sdps_ports_is_named_with_the_port() {
    let port = even_port();
    let began = Instant::now();
    let error = probe::first_frames(Source::Sdp(sdp(port)), BOTH, Duration::from_secs(1)).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(error.to_string().contains(&format!("no RTP on port {port} (video)")), "{error}");
}

#[tokio::test]
async fn a_port_that_another_player_holds_is_an_error_at_once() {
    let port = even_port();
    let _player = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let result = probe::first_frames(Source::Sdp(sdp(port)), BOTH, Duration::from_secs(10)).await;
    assert!(matches!(result, Err(ProbeError::Port { port: taken, .. }) if taken == port), "{result:?}");
}

/// Plays a file as H.264 and AAC over RTP with sender reports, as `sdp` describes it, in real time.
fn rtp_sender(port: u16, path: &Path) -> Sender {
    gst::init().unwrap();
    let (video_rtcp, audio, audio_rtcp) = (port + 1, port + 2, port + 3);
    let pipeline = gst::parse::launch(&format!(
        "rtpbin name=rtp filesrc location={} ! matroskademux name=file
         file.video_0 ! queue ! h264parse ! rtph264pay pt=96 config-interval=-1 mtu=1200 ! rtp.send_rtp_sink_0
         file.audio_0 ! queue ! aacparse ! rtpmp4gpay pt=97 ! rtp.send_rtp_sink_1
         rtp.send_rtp_src_0 ! udpsink host=127.0.0.1 port={port}
         rtp.send_rtp_src_1 ! udpsink host=127.0.0.1 port={audio}
         rtp.send_rtcp_src_0 ! udpsink host=127.0.0.1 port={video_rtcp} sync=false async=false
         rtp.send_rtcp_src_1 ! udpsink host=127.0.0.1 port={audio_rtcp} sync=false async=false",
        path.display()
    ));
    let sender = Sender(pipeline.unwrap());
    sender.0.set_state(gst::State::Playing).unwrap();
    sender
}

/// A sending pipeline that ends with the test.
struct Sender(gst::Element);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.set_state(gst::State::Null).unwrap();
    }
}

fn sdp(port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=video {port} RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n\
         m=audio {} RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/48000/2\r\na=fmtp:97 streamtype=5;profile-level-id=1;\
         mode=AAC-hbr;config=1190;sizelength=13;indexlength=3;indexdeltalength=3\r\n",
        port + 2
    )
}

/// An even port with three free ones after it.
fn even_port() -> u16 {
    loop {
        let port = UdpSocket::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port() & !1;
        let is_free = port < 65_000 && (port..port + 4).all(|port| UdpSocket::bind(("0.0.0.0", port)).is_ok());
        if is_free {
            return port;
        }
    }
}

/// An ffmpeg that ends with the test.
struct Running(Child);

impl Running {
    fn ffmpeg(arguments: &[&str]) -> Self {
        let child = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-y"])
            .args(arguments)
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
