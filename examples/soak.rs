//! Many participants, and many comings and goings, on one UDP port: what stays behind is counted. `make soak` runs it.
//!
//! ```text
//! cargo run --release --example soak -- [PEOPLE] [JOINS]
//! ```
//!
//! A server, a bridge and its participants run in this one process, so its tasks, descriptors and memory are everybody's.
//! First PEOPLE (50) are in the room together; then there are JOINS (1000) comings and goings, eight at a time. It fails
//! when a route, a task or a descriptor is left over, or when memory still grows in the second half.

#![allow(clippy::print_stdout, reason = "a program that talks to people")]

#[path = "../tests/support/line.rs"]
mod line;

use std::collections::HashSet;
use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use roomcast::bridge::{self, BridgeConfig, Event as BridgeEvent, Record, Snapshot};
use roomcast::media::layout::Size;
use roomcast::media::mixer::Canvas;
use roomcast::peer::{Network, NetworkConfig, OutboundTrack, RtpPacket};
use roomcast::server::{Limits, ListenAddress, ServerConfig, serve};
use roomcast::signaling::RoomUrl;
use roomcast::terms::{Codec, ParticipantId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use line::Line;

type Failure = Box<dyn Error + Send + Sync>;

/// Longer than anything here takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many come and go at once.
const AT_ONCE: usize = 8;
/// How long all people stay together.
const TOGETHER: Duration = Duration::from_secs(10);
/// What the allocator and GStreamer may keep of the second half: much less than a connection each would be.
const GROWTH_KB: u64 = 16 * 1024;
/// 20 ms of Opus silence.
const SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];

fn main() -> Result<(), Failure> {
    roomcast::memory::limit_heaps()?;
    tokio::runtime::Runtime::new()?.block_on(run())
}

async fn run() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let people = arguments.next().transpose()?.unwrap_or(50);
    let joins = arguments.next().transpose()?.unwrap_or(1000);
    let stop = CancellationToken::new();
    let limits = Limits { members: people + AT_ONCE + 2, ..Limits::default() };
    let listen = ListenAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
    let server = serve(ServerConfig { listen, limits, ..ServerConfig::default() }, stop.clone()).await?;
    let room: RoomUrl = format!("mesh+ws://{}/ws?room=soak", server.addr()).parse()?;
    let soak = Soak::start(room, &stop).await?;
    let judged = try_everything(&soak, people, joins).await;
    stop.cancel();
    let ended = soak.bridge.await?;
    server.closed().await;
    // Why the bridge has ended says more than who missed it.
    ended?;
    judged
}

async fn try_everything(soak: &Soak, people: usize, joins: usize) -> Result<(), Failure> {
    let before = soak.quiet().await?;
    println!("{:>12} {:>9} {:>6} {:>6} {:>7} {:>8}", "", "RSS kB", "fds", "tasks", "routes", "dropped");
    before.print("begin");
    let mut together = JoinSet::new();
    let leave = CancellationToken::new();
    for _ in 0..people {
        together.spawn(soak.caller().stay(Some(leave.clone())));
    }
    soak.until(|snapshot| snapshot.participants.iter().filter(|person| person.connected).count() == people).await?;
    sleep(TOGETHER).await;
    soak.sample().print(&format!("{people} together"));
    leave.cancel();
    finish(together, people).await?;
    soak.quiet().await?.print("all left");

    let (mut running, mut middle, started) = (JoinSet::new(), None, Instant::now());
    for number in 1..=joins {
        if running.len() >= AT_ONCE
            && let Some(ended) = running.join_next().await
        {
            ended??;
        }
        running.spawn(soak.caller().stay(None));
        if number % (joins / 10).max(1) == 0 {
            finish(std::mem::take(&mut running), AT_ONCE).await?;
            let sample = soak.quiet().await?;
            sample.print(&format!("{number} joins"));
            if number * 2 >= joins {
                middle.get_or_insert(sample);
            }
        }
    }
    finish(running, AT_ONCE).await?;
    let after = soak.quiet().await?;
    after.print("end");
    println!("{joins} joins in {:.0} s", started.elapsed().as_secs_f64());
    after.judge(&before, &middle.unwrap_or(before))
}

async fn finish(mut callers: JoinSet<Result<(), Failure>>, most: usize) -> Result<(), Failure> {
    let mut ended = 0;
    while let Some(caller) = callers.join_next().await {
        caller??;
        ended += 1;
    }
    if ended > most { Err(format!("{ended} callers where {most} were expected").into()) } else { Ok(()) }
}

/// The bridge, and what is known about it.
struct Soak {
    room: RoomUrl,
    snapshots: watch::Receiver<Snapshot>,
    heard: watch::Receiver<HashSet<ParticipantId>>,
    network: Network,
    bridge: tokio::task::JoinHandle<Result<bridge::Summary, bridge::BridgeError>>,
    _directory: tempfile::TempDir,
}

impl Soak {
    async fn start(room: RoomUrl, stop: &CancellationToken) -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let output = directory.path().join("soak.mkv").display().to_string().parse()?;
        let loopback = NetworkConfig { addresses: vec![[127, 0, 0, 1].into()], ..NetworkConfig::default() };
        let config = BridgeConfig {
            canvas: Canvas { size: Size { width: 160, height: 90 }, fps: 5 },
            network: NetworkConfig { udp_ports: Some("0".parse()?), ..loopback.clone() },
            ..BridgeConfig::new(room.clone(), vec![output])
        };
        let (events, mut received) = mpsc::channel::<Record>(256);
        let (snapshot_sender, snapshots) = watch::channel(Snapshot::default());
        let (heard_sender, heard) = watch::channel(HashSet::new());
        tokio::spawn(async move {
            while let Some(record) = received.recv().await {
                heard_sender.send_modify(|heard| match record.event {
                    BridgeEvent::TrackStarted { participant, .. } => drop(heard.insert(participant)),
                    BridgeEvent::ParticipantLeft { participant, .. } => drop(heard.remove(&participant)),
                    _ => {}
                });
            }
        });
        let bridge =
            tokio::spawn(bridge::run(config, events, Some(snapshot_sender), mpsc::channel(1).1, stop.child_token()));
        let network = Network::open(&loopback, true)?;
        let soak = Self { room, snapshots, heard, network, bridge, _directory: directory };
        soak.until(|snapshot| snapshot.uptime > 3.0).await?;
        Ok(soak)
    }

    fn caller(&self) -> Caller {
        Caller { room: self.room.clone(), network: self.network.clone(), heard: self.heard.clone() }
    }

    async fn until(&self, holds: impl Fn(&Snapshot) -> bool) -> Result<(), Failure> {
        let mut snapshots = self.snapshots.clone();
        let waited = timeout(PATIENCE, snapshots.wait_for(|snapshot| holds(snapshot))).await;
        drop(waited.map_err(|_| format!("the bridge does not get there: {:?}", self.snapshots.borrow()))??);
        Ok(())
    }

    /// What there is when nobody is in the room, once the last connections are gone.
    async fn quiet(&self) -> Result<Sample, Failure> {
        self.until(|snapshot| {
            snapshot.participants.is_empty() && snapshot.ports.as_ref().is_some_and(|ports| ports.connections == 0)
        })
        .await?;
        // The last sockets of the server and the last pipelines are taken apart in the background.
        sleep(Duration::from_secs(3)).await;
        Ok(self.sample())
    }

    fn sample(&self) -> Sample {
        let ports = self.snapshots.borrow().ports.clone().unwrap_or_default();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Sample {
            rss_kb: rss.and_then(|rss| rss.split_whitespace().next()?.parse().ok()).unwrap_or(0),
            descriptors: std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            routes: ports.routes,
            dropped: ports.dropped,
        }
    }
}

/// What the process has at one moment.
#[derive(Clone, Copy)]
struct Sample {
    rss_kb: u64,
    descriptors: usize,
    tasks: usize,
    routes: usize,
    dropped: u64,
}

impl Sample {
    fn print(&self, when: &str) {
        let Self { rss_kb, descriptors, tasks, routes, dropped } = self;
        println!("{when:>12} {rss_kb:>9} {descriptors:>6} {tasks:>6} {routes:>7} {dropped:>8}");
    }

    fn judge(&self, before: &Self, middle: &Self) -> Result<(), Failure> {
        if self.routes > 0 {
            return Err(format!("{} routes are left over", self.routes).into());
        }
        if self.tasks > before.tasks {
            return Err(format!("{} tasks are left over", self.tasks - before.tasks).into());
        }
        if self.descriptors > middle.descriptors {
            return Err(format!("{} descriptors are left over", self.descriptors - middle.descriptors).into());
        }
        let growth = self.rss_kb.saturating_sub(middle.rss_kb);
        if growth > GROWTH_KB {
            return Err(format!("memory grew by {growth} kB in the second half").into());
        }
        println!("nothing is left over");
        Ok(())
    }
}

/// Somebody who is silent in the room.
struct Caller {
    room: RoomUrl,
    network: Network,
    heard: watch::Receiver<HashSet<ParticipantId>>,
}

impl Caller {
    /// Joins and waits until the bridge hears us; then until `leave`, or leaves at once.
    async fn stay(mut self, leave: Option<CancellationToken>) -> Result<(), Failure> {
        let mut line = Line::join(self.room.clone(), self.network.clone(), "soak-").await?;
        let sending = tokio::spawn(send_silence(line.peer().add_outbound(Codec::Opus).await?));
        let mut is_heard = false;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            tokio::select! {
                heard = line.hear() => line.follow(heard?).await?,
                changed = self.heard.changed(), if !is_heard => {
                    changed?;
                    is_heard = line.me().is_some_and(|me| self.heard.borrow_and_update().contains(me));
                    if is_heard && leave.is_none() {
                        break;
                    }
                }
                () = async { if let Some(leave) = &leave { leave.cancelled().await } }, if is_heard => break,
                () = tokio::time::sleep_until(deadline), if !is_heard => return Err("the bridge does not hear us".into()),
            }
        }
        sending.abort();
        line.leave().await
    }
}

async fn send_silence(track: OutboundTrack) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    for number in 0_u32.. {
        tick.tick().await;
        let mut packet = vec![0x80, 96];
        packet.extend((number as u16).to_be_bytes());
        packet.extend((number * 960).to_be_bytes());
        packet.extend(1_u32.to_be_bytes());
        packet.extend(SILENCE);
        let Ok(packet) = RtpPacket::parse(Bytes::from(packet)) else { return };
        if track.write(packet).await.is_err() {
            return;
        }
    }
}
