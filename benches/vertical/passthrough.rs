//! What it costs to pass a participant's RTP on: from the tap that a bridge's readers feed to the receiver's port, against a bare
//! forwarder of the same packets that only receives and sends.
//!
//! Both run on one thread of their own, and only its CPU time counts; senders and receivers are other threads. What the kernel
//! does for a datagram on loopback counts for whoever sends it, so it is the same for both.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use roomcast::output::{Multicast, Passthrough, PassthroughConfig};
use roomcast::rtp::{Packet, PacketSink, Tap, TrackId};
use roomcast::terms::{Codec, MediaKind, Ssrc};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::UdpSocket;

use super::table::{Table, percentile};

/// Streams, and packets per second of each.
const LOADS: [(usize, u32); 3] = [(1, 2000), (40, 150), (8, 4000)];
const ROUNDS: usize = 3;
const WARM_UP: Duration = Duration::from_millis(500);
const LENGTH: Duration = Duration::from_secs(3);
/// A packet of video.
const SIZE: usize = 1100;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Bare,
    Passthrough,
}

pub(crate) fn measure(table: &mut Table) {
    for (streams, rate) in LOADS {
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        // Taken in turns: a neighbour who disturbs one disturbs the other as well.
        for _ in 0..ROUNDS {
            bare.push(forward(Way::Bare, streams, rate).per_thousand);
            ours.push(forward(Way::Passthrough, streams, rate).per_thousand);
        }
        let (bare, ours) = (percentile(&bare, 0.5), percentile(&ours, 0.5));
        let load = format!("{streams} x {rate} packets/s");
        table.add(format!("passthrough, {load}"), ours, "ms of CPU per 1000 packets", None);
        table.add(format!("bare forwarder, {load}"), bare, "ms of CPU per 1000 packets", None);
        table.add(format!("passthrough to bare forwarder, {load}"), ours / bare, "x", Some(2.0));
    }
    let one = forward(Way::Passthrough, 1, 150).resident;
    let many = forward(Way::Passthrough, 41, 150).resident;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let each = (many as f64 - one as f64) / 40.0 / 1e6;
    table.add("memory of a further stream, 41 against 1", each, "MB", Some(0.4));
}

struct Forwarded {
    per_thousand: f64,
    /// Bytes of the process while it ran.
    resident: u64,
}

/// Forwards for a while and says what it cost.
fn forward(way: Way, streams: usize, rate: u32) -> Forwarded {
    let stop = Arc::new(AtomicBool::new(false));
    let (drain, to) = listen(&stop);
    let inbound: Vec<_> = (0..streams).map(|_| std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    let targets: Vec<_> = inbound.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let sender = send(targets, rate, &stop);
    let stopped = Arc::clone(&stop);
    let forwarder = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let passed = Arc::new(AtomicU64::new(0));
            for socket in inbound {
                socket.set_nonblocking(true).unwrap();
                let socket = UdpSocket::from_std(socket).unwrap();
                match way {
                    Way::Bare => tokio::spawn(bare(socket, to, Arc::clone(&passed))),
                    Way::Passthrough => tokio::spawn(pass_through(socket, to, Arc::clone(&passed))),
                };
            }
            tokio::time::sleep(WARM_UP).await;
            let (before, from) = (cpu_time(), passed.load(Ordering::Relaxed));
            tokio::time::sleep(LENGTH).await;
            let (spent, count) = (cpu_time() - before, passed.load(Ordering::Relaxed) - from);
            let resident = resident();
            stopped.store(true, Ordering::Relaxed);
            let expected = f64::from(rate) * streams as f64 * LENGTH.as_secs_f64();
            assert!(
                count as f64 > 0.8 * expected,
                "{count} of {expected} packets: this machine is too busy to measure"
            );
            Forwarded { per_thousand: spent.as_secs_f64() * 1000.0 / (count as f64 / 1000.0), resident }
        })
    });
    let forwarded = forwarder.join().unwrap();
    sender.join().unwrap();
    drain.join().unwrap();
    forwarded
}

async fn bare(from: UdpSocket, to: SocketAddr, passed: Arc<AtomicU64>) {
    let out = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    out.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2048];
    while let Ok(length) = from.recv(&mut buffer).await {
        if out.send_to(&buffer[..length], to).is_ok() {
            passed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn pass_through(from: UdpSocket, to: SocketAddr, passed: Arc<AtomicU64>) {
    let passthrough = Passthrough::open(&PassthroughConfig {
        kinds: vec![MediaKind::Video],
        receivers: vec![to],
        multicast: Multicast::default(),
        keyframes: Duration::from_secs(2),
        name: "bench".into(),
        protection: None,
    })
    .unwrap();
    let tap = Tap::new();
    let _plug = tap.plug(passthrough.clone());
    let track = TrackId::unique();
    let mut buffer = [0; 2048];
    let mut counted = 0;
    while let Ok(length) = from.recv(&mut buffer).await {
        tap.packet(&parse(track, &buffer[..length]));
        let (sent, _) = passthrough.counters();
        passed.fetch_add(sent - std::mem::replace(&mut counted, sent), Ordering::Relaxed);
    }
}

/// The peer hands over each packet in memory of its own.
fn parse(track: TrackId, bytes: &[u8]) -> Packet {
    let word = |at: usize| u32::from_be_bytes(*bytes[at..].first_chunk().unwrap());
    Packet {
        track,
        codec: Codec::Vp8,
        ssrc: Ssrc(word(8)),
        sequence_number: (word(0) & 0xffff) as u16,
        timestamp: word(4),
        marker: bytes[1] & 0x80 != 0,
        payload: Bytes::copy_from_slice(&bytes[12..]),
    }
}

/// Sends RTP to each target at a steady rate until it is stopped.
fn send(targets: Vec<SocketAddr>, rate: u32, stop: &Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (began, mut sent) = (Instant::now(), 0_u32);
        let mut packet = vec![0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0x10];
        packet.resize(SIZE, 0);
        while !stop.load(Ordering::Relaxed) {
            let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u32;
            // One stream's packets come one by one, as a browser paces them, but many streams at once.
            for number in sent..due {
                packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
                packet[4..8].copy_from_slice(&(number * 30).to_be_bytes());
                for target in &targets {
                    socket.send_to(&packet, target).ok();
                }
            }
            sent = due;
            thread::sleep(Duration::from_micros(500));
        }
    })
}

/// Takes whatever is forwarded.
fn listen(stop: &Arc<AtomicBool>) -> (thread::JoinHandle<()>, SocketAddr) {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (address, stop) = (socket.local_addr().unwrap(), Arc::clone(stop));
    let drain = thread::spawn(move || {
        let mut buffer = [0; 2048];
        while !stop.load(Ordering::Relaxed) {
            socket.recv(&mut buffer).ok();
        }
    });
    (drain, address)
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Memory of this process, from `/proc/self/statm`, whose second field counts pages.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}
