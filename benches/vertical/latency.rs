//! From a packet that a participant sends to the RTP packet that a receiver gets, and from joining to the first picture:
//! the whole bridge as a process, looked at from outside.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gstreamer as gst;
use jiff::Timestamp;
use roomcast::signaling::RoomUrl;
use serde_json::Value;

use super::eye::{Decoded, Eye, Picture, latencies};
use super::input::Input;
use super::ports::even_rtp_ports;
use super::roomcast::Roomcast;
use super::sender::Sender;
use super::table::{Table, percentile};

/// Pictures come 0.6 ms later each time than the mixer's ticks: every phase is met many times.
pub(crate) const STRETCH: f64 = 1.017;

/// How much of the input is sent: two changes of brightness for each second.
pub(crate) const WINDOW: Duration = Duration::from_secs(25);

const SOON: Duration = Duration::from_secs(30);

/// The payload type in `pipelines/rtp.launch`.
const CAPS: &str = "application/x-rtp,media=video,clock-rate=90000,encoding-name=H264,payload=96";

pub(crate) async fn measure(input: &Arc<Input>, directory: &Path, table: &mut Table) {
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    for (label, settings, limit) in [("default latency", "", 150.0), ("latency=0", "&latency=0", 50.0)] {
        let room = format!("{}/ws?room=latency", base.replace("http", "mesh+ws"));
        let port = even_rtp_ports(4);
        let receiver = Receiver::start(port);
        let sdp = directory.join("latency.sdp");
        let output = format!("rtp://127.0.0.1:{port}?sdp={}{settings}", sdp.display());
        let mut bridge = Roomcast::start(["bridge", &room, "-o", &output]);
        let joined = moment(&bridge.wait_event("joined", SOON).await);
        let ready = moment(&bridge.wait_event("output_ready", SOON).await);

        let room: RoomUrl = room.parse().expect("a room URL");
        let sender = Sender::join(&room, input, STRETCH).await;
        tokio::time::sleep_until((sender.began + WINDOW).into()).await;
        let sent = sender.leave().await;
        bridge.terminate(SOON).await;
        let (first, seen) = receiver.stop();

        let after = |moment: Instant| moment.saturating_duration_since(joined).as_secs_f64();
        let first = first.map_or(f64::INFINITY, after);
        table.add(format!("joined to first decoded RTP frame, {label}"), first, "s", Some(2.0));
        table.add(format!("joined to output_ready, {label}"), after(ready), "s", Some(2.0));
        // The last change may still have been on its way when the call ended.
        let until = sent.last().map(|picture| picture.at - Duration::from_secs(1));
        let sent: Vec<_> = sent.into_iter().filter(|picture| Some(picture.at) < until).collect();
        let samples = latencies(&sent, &seen);
        eprintln!("{} samples", samples.len());
        table.add(
            format!("RTP packet in to RTP packet out, {label}, p50"),
            percentile(&samples, 0.5),
            "ms",
            Some(limit),
        );
        table.add(format!("RTP packet in to RTP packet out, {label}, p95"), percentile(&samples, 0.95), "ms", None);
    }
}

/// An event's time on our own clock.
fn moment(event: &Value) -> Instant {
    let time: Timestamp = event["time"].as_str().and_then(|time| time.parse().ok()).expect("events have times");
    let ago = Timestamp::now().duration_since(time);
    Instant::now() - Duration::try_from(ago).unwrap_or_default()
}

/// Somebody at the output's port who notes when packets come and what they show.
struct Receiver {
    receiving: std::thread::JoinHandle<(Vec<Decoded>, HashMap<u64, Instant>)>,
    stop: Arc<AtomicBool>,
}

impl Receiver {
    fn start(port: u16) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", port)).expect("the port was free");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let receiving = std::thread::spawn(move || receive(&socket, &stopped));
        Self { receiving, stop }
    }

    /// When the first picture was decoded, and when the first packet of each came.
    fn stop(self) -> (Option<Instant>, Vec<Picture>) {
        self.stop.store(true, Ordering::Relaxed);
        let (decoded, arrivals) = self.receiving.join().expect("the receiver works");
        let mut seen: Vec<_> = decoded
            .iter()
            .filter_map(|picture| Some(Picture { at: *arrivals.get(&ticks(picture.pts))?, bright: picture.bright }))
            .collect();
        seen.sort_by_key(|picture| picture.at);
        (decoded.first().map(|picture| picture.at), seen)
    }
}

fn receive(socket: &UdpSocket, stop: &AtomicBool) -> (Vec<Decoded>, HashMap<u64, Instant>) {
    let eye = Eye::new(CAPS, "rtph264depay");
    eye.play();
    let mut arrivals = HashMap::new();
    let mut first = None;
    let mut packet = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut packet) else { continue };
        let at = Instant::now();
        if length < 12 {
            continue;
        }
        let timestamp = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        // A second before the first one, lest a packet that comes first is not the first.
        let first = *first.get_or_insert(timestamp.wrapping_sub(90_000));
        let ticks = u64::from(timestamp.wrapping_sub(first));
        arrivals.entry(ticks).or_insert(at);
        eye.push(gst::ClockTime::from_nseconds(ticks * 1_000_000 / 90), &packet[..length]);
    }
    (eye.decoded(), arrivals)
}

/// The RTP timestamp that a buffer's time was made of.
fn ticks(pts: gst::ClockTime) -> u64 {
    (pts.nseconds() * 90 + 500_000) / 1_000_000
}
