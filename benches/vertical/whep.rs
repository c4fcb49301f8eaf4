//! From a packet that a participant sends to the same packet at a WHEP viewer: what `serve` adds by passing on, in two
//! connections with their encryption and pacing. A viewer's own jitter buffer and decoder come on top, as in any call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use roomcast::peer::{InboundTrack, Network, Peer, PeerConfig, PeerEvent, ice};
use roomcast::signaling::{self, Command, Event, JoinOptions, RoomUrl};
use roomcast::terms::{Codec, MediaKind};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::input::Input;
use super::latency::{STRETCH, WINDOW};
use super::roomcast::Roomcast;
use super::sender::{Sender, rtp_time};
use super::table::{Table, percentile};

/// The first picture may come before the viewer is there.
const BEGIN: Duration = Duration::from_secs(2);

/// When the last packet of each picture came, by its timestamp.
type Arrivals = Arc<Mutex<HashMap<u32, Instant>>>;

pub(crate) async fn measure(input: &Arc<Input>, table: &mut Table) {
    let (_server, base) = Roomcast::serve(&["--no-bridges", "--rtc-config", r#"{"iceServers":[]}"#]).await;
    let room: RoomUrl = format!("{}/ws?room=whep", base.replace("http", "mesh+ws")).parse().expect("a room URL");
    let stream: RoomUrl = format!("{}/whep/whep", base.replace("http", "whep+http")).parse().expect("a stream's URL");
    let arrivals = Arrivals::default();
    let mut viewing = JoinSet::new();
    viewing.spawn(view(stream, Arc::clone(&arrivals)));
    let sender = Sender::join(&room, input, STRETCH).await;
    let began = sender.began;
    tokio::time::sleep_until((began + WINDOW).into()).await;
    let sent = sender.leave().await;
    viewing.shutdown().await;

    let arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    let until = began + WINDOW - Duration::from_secs(1);
    let mut samples = Vec::new();
    for (picture, unit) in
        sent.iter().zip(&input.video).filter(|(picture, _)| picture.at > began + BEGIN && picture.at < until)
    {
        let arrived = arrivals.get(&rtp_time(unit.time.mul_f64(STRETCH), Codec::Vp8));
        samples
            .push(arrived.map_or(f64::INFINITY, |at| at.saturating_duration_since(picture.at).as_secs_f64() * 1000.0));
    }
    eprintln!("{} samples", samples.len());
    let missing = samples.iter().filter(|sample| sample.is_infinite()).count();
    table.add("WHEP: picture in to picture out, p50", percentile(&samples, 0.5), "ms", Some(10.0));
    table.add("WHEP: picture in to picture out, p95", percentile(&samples, 0.95), "ms", None);
    table.add("WHEP: picture in to picture out, p99", percentile(&samples, 0.99), "ms", None);
    #[expect(clippy::cast_precision_loss, reason = "less than a thousand")]
    table.add("WHEP: pictures that never came", missing as f64, "", Some(0.0));
}

/// Watches the stream until dropped. Whoever comes before somebody sends is told to come again.
async fn view(stream: RoomUrl, arrivals: Arrivals) {
    let mut session = signaling::join(stream, JoinOptions::default(), CancellationToken::new());
    let commands = session.commands.clone();
    let (events_in, mut events) = mpsc::channel(256);
    let mut call = None;
    let mut reading = JoinSet::new();
    loop {
        tokio::select! {
            event = session.events.recv() => match event.expect("the stream stays") {
                Event::PeerJoined { peer: id, .. } => {
                    let config = PeerConfig {
                        ice_servers: vec![],
                        network: Network::on(ice::local_addresses(true)),
                        codecs: vec![Codec::Vp8, Codec::Opus],
                        polite: true,
                        sends: false,
                    };
                    let peer = Peer::start(id.clone(), config, events_in.clone()).await.expect("a peer");
                    peer.call().await.expect("an offer");
                    call = Some((id, peer));
                }
                Event::Description { description, .. } => if let Some((_, peer)) = &call {
                    peer.handle_description(description).await.expect("a description that fits");
                },
                Event::Candidate { candidate, .. } => if let Some((_, peer)) = &call {
                    peer.handle_candidate(candidate).await.expect("a candidate that fits");
                },
                _ => {}
            },
            Some(event) = events.recv() => {
                let Some((id, _)) = &call else { continue };
                let peer = id.clone();
                // Fails only when the session ends, which its events say.
                match event {
                    PeerEvent::LocalDescription(description) => {
                        commands.send(Command::Description { peer, description }).await.ok();
                    }
                    PeerEvent::LocalCandidate(candidate) => {
                        commands.send(Command::Candidate { peer, candidate }).await.ok();
                    }
                    PeerEvent::TrackStarted(track) => { reading.spawn(read(track, Arc::clone(&arrivals))); }
                    _ => {}
                }
            }
        }
    }
}

async fn read(mut track: InboundTrack, arrivals: Arrivals) {
    let is_video = track.kind == MediaKind::Video;
    while let Some(packet) = track.read().await {
        if is_video && packet.marker() {
            let at = Instant::now();
            arrivals.lock().unwrap_or_else(PoisonError::into_inner).entry(packet.timestamp()).or_insert(at);
        }
    }
}
