//! A day of media in minutes: a whole bridge, its server and a guest on a clock that runs many times as fast as time.
//!
//! GStreamer's time runs fast, and so does what the guest sends; everything else, from the network to Tokio's timers, is as it
//! is. A delay of the machine counts `rate` times as much, so what is judged is whether anything grows.

#![allow(dead_code, reason = "the test and the example use another part of it")]
#![allow(clippy::print_stdout, reason = "a table for people")]

mod clock;
mod guest;
#[path = "../line.rs"]
mod line;
mod readers;
mod sample;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use roomcast::bridge::{self, BridgeConfig, Event, Record, Snapshot};
use roomcast::media::clock::MediaClock;
use roomcast::media::layout::Size;
use roomcast::media::mixer::Canvas;
use roomcast::output::OutputSpec;
use roomcast::peer::{Network, NetworkConfig};
use roomcast::server::{ListenAddress, ServerConfig, serve};
use roomcast::signaling::RoomUrl;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::clock::FastClock;
use self::readers::Readers;
pub(crate) use self::sample::{Day, Sample};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// How long outputs may take until they play.
const READY: Duration = Duration::from_secs(60);
/// What is heard and seen before the day begins to run.
const SETTLE: Duration = Duration::from_secs(2);

/// What is to be lived through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// What the bridge's clock shows at the beginning.
    pub(crate) begin: Duration,
    /// How long it is to run, on that clock.
    pub(crate) length: Duration,
    /// How many times as fast as time.
    pub(crate) rate: u32,
    /// From one sample to the next, on that clock.
    pub(crate) sample: Duration,
    /// The length of a recording's part.
    pub(crate) split: &'static str,
}

/// What the bridge has told.
#[derive(Debug, Default)]
struct Told {
    ready: usize,
    recorded: BTreeMap<String, Recorded>,
    failures: Vec<String>,
}

/// The files of one recording.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    /// When the first began. Until then the fast clock was not fast.
    began: jiff::Timestamp,
    /// Seconds in all of them.
    length: f64,
    files: usize,
}

/// Lives through the day, and prints a line for each sample.
pub(crate) async fn live(plan: Plan) -> Result<Day, Failure> {
    gst::init()?;
    let directory = tempfile::tempdir()?;
    let (clock, zero) = (FastClock::start(plan.begin, 1), jiff::Timestamp::now());
    let stop = CancellationToken::new();
    let listen = ListenAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
    let server = serve(ServerConfig { listen, ..ServerConfig::default() }, stop.clone()).await?;
    let room: RoomUrl = format!("mesh+ws://{}/ws?room=day", server.addr()).parse()?;
    let readers = Readers::default();
    let mut reading = JoinSet::new();
    let outputs = outputs(directory.path(), plan, &clock, &readers, &mut reading).await?;

    let told = Arc::new(Mutex::new(Told::default()));
    let (events, received) = mpsc::channel::<Record>(256);
    let listening = tokio::spawn(listen_to(received, Arc::clone(&told)));
    let (snapshot_sender, snapshots) = watch::channel(Snapshot::default());
    let loopback = NetworkConfig { addresses: vec![[127, 0, 0, 1].into()], ..NetworkConfig::default() };
    let config = BridgeConfig {
        canvas: Canvas { size: Size { width: 160, height: 90 }, fps: 5 },
        video_bitrate: 100_000,
        network: loopback.clone(),
        jitter_latency: Duration::from_millis(1000),
        clock: Some(MediaClock::simulated(clock.clone().upcast())),
        ..BridgeConfig::new(room.clone(), outputs)
    };
    let wanted = config.outputs.len();
    let bridge_stop = stop.child_token();
    let mut bridge =
        tokio::spawn(bridge::run(config, events, Some(snapshot_sender), mpsc::channel(1).1, bridge_stop.clone()));
    let leave = CancellationToken::new();
    let network = Network::open(&loopback, true)?;
    let mut guest = tokio::spawn(guest::talk(room, network, clock.clone(), leave.clone()));

    let all_ready = async {
        loop {
            let ready = told.lock().unwrap_or_else(PoisonError::into_inner).ready;
            if ready >= wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        ready = tokio::time::timeout(READY, all_ready) => ready.map_err(|_| format!("not all outputs play: {told:?}"))?,
        ended = &mut guest => return Err(format!("the guest has gone: {ended:?}").into()),
        ended = &mut bridge => return Err(format!("the bridge has ended: {ended:?}").into()),
    }
    tokio::time::sleep(SETTLE).await;
    clock.set_rate(plan.rate);
    let mut day = Day::new(plan);
    let sampling = async {
        Sample::print_head();
        let (begin, mut pace) = (clock.now(), sample::Pace::new(plan.rate));
        // The first begins what the others are compared with.
        readers.lags();
        while clock.now() < begin + plan.length {
            let sample =
                Sample::take(plan, (&clock, &mut pace), &readers, snapshots.clone(), &directory.path().join("hls"))
                    .await;
            sample.print();
            day.samples.push(sample);
        }
    };
    tokio::select! {
        () = sampling => {}
        ended = &mut guest => return Err(format!("the guest has gone: {ended:?}").into()),
        ended = &mut bridge => return Err(format!("the bridge has ended: {ended:?}").into()),
    }
    // The clock stands while the bridge hears of the end, so that it is the same moment for everybody.
    clock.set_rate(0);
    let end = clock.now();
    bridge_stop.cancel();
    day.readers = readers.all().clone();
    tokio::time::sleep(SETTLE / 4).await;
    clock.set_rate(1);
    bridge.await??;
    leave.cancel();
    guest.await??;
    listening.await?;
    stop.cancel();
    server.closed().await;
    reading.shutdown().await;
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    day.faults.append(&mut told.failures);
    for (name, Recorded { began, length, files }) in std::mem::take(&mut told.recorded) {
        let passed = (end - plan.begin).as_secs_f64() - began.duration_since(zero).as_secs_f64();
        day.recorded.push((name, length, passed, files));
    }
    Ok(day)
}

/// One output of each kind, and somebody who reads it.
async fn outputs(
    directory: &Path,
    plan: Plan,
    clock: &FastClock,
    readers: &Readers,
    reading: &mut JoinSet<()>,
) -> Result<Vec<OutputSpec>, Failure> {
    let (split, directory) = (plan.split, directory.display());
    let (copied, copied_video, copied_audio) = ports().await?;
    let (mixed, mixed_video, mixed_audio) = ports().await?;
    let datagrams = UdpSocket::bind("127.0.0.1:0").await?;
    let port = datagrams.local_addr()?.port();
    for (name, socket, rate) in [
        ("copy v", copied_video, 90_000.0),
        ("copy a", copied_audio, 48_000.0),
        ("mix v", mixed_video, 90_000.0),
        ("mix a", mixed_audio, 48_000.0),
    ] {
        reading.spawn(readers::rtp(name, socket, rate, clock.clone(), readers.clone()));
    }
    reading.spawn(readers::ts("ts", datagrams, clock.clone(), readers.clone()));
    let playlist = format!("{directory}/hls/index.m3u8").into();
    reading.spawn(readers::hls("hls", playlist, clock.clone(), readers.clone()));
    let outputs = [
        format!("{directory}/copy.mkv?video=copy&audio=copy&split={split}"),
        format!("{directory}/mix.mp4?split={split}"),
        format!("{directory}/mix.mkv?split={split}"),
        format!("hls:{directory}/hls?format=fmp4&segment=10"),
        format!("rtp://127.0.0.1:{copied}?video=copy&audio=copy"),
        format!("rtp://127.0.0.1:{mixed}"),
        format!("ts+udp://127.0.0.1:{port}"),
    ];
    outputs.iter().map(|output| Ok(output.parse()?)).collect()
}

/// An even port and the two sockets that read its picture and its sound.
async fn ports() -> Result<(u16, UdpSocket, UdpSocket), Failure> {
    for _ in 0..100 {
        let video = UdpSocket::bind("127.0.0.1:0").await?;
        let port = video.local_addr()?.port();
        if port.is_multiple_of(2)
            && port < u16::MAX - 4
            && let Ok(audio) = UdpSocket::bind(("127.0.0.1", port + 2)).await
        {
            return Ok((port, video, audio));
        }
    }
    Err("there are no free ports".into())
}

/// Keeps what is needed of the events, and deletes files that are complete.
async fn listen_to(mut received: mpsc::Receiver<Record>, told: Arc<Mutex<Told>>) {
    while let Some(record) = received.recv().await {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        match record.event {
            Event::OutputReady { .. } => told.ready += 1,
            Event::PartFinished { output, file, start, duration, .. } => {
                let name = output.split('?').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
                let first = Recorded { began: start, length: 0.0, files: 0 };
                let recorded = told.recorded.entry(name.to_owned()).or_insert(first);
                recorded.length += duration;
                recorded.files += 1;
                recorded.began = recorded.began.min(start);
                std::fs::remove_file(file).ok();
            }
            Event::OutputFailed { output, error, .. } => told.failures.push(format!("{output} failed: {error}")),
            Event::Reconnecting { what, reason, .. } => told.failures.push(format!("{what} was lost: {reason}")),
            Event::TrackStalled { kind, .. } => told.failures.push(format!("the guest's {kind} stalled")),
            _ => {}
        }
    }
}
