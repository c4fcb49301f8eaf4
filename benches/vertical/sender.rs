//! A participant of the bench's own: it sends the input's packets at known moments.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use roomcast::peer::{Network, OutboundTrack, Peer, PeerConfig, PeerEvent, RtpPacket, ice};
use roomcast::signaling::{self, CallPolicy, Command, Event, JoinOptions, RoomUrl, polite};
use roomcast::terms::{Codec, MediaKind, ParticipantId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::eye::Picture;
use super::input::{Input, Unit, is_bright};

/// A participant that sends.
pub(crate) struct Sender {
    /// The moment of the media's time zero.
    pub(crate) began: Instant,
    sending: JoinHandle<Vec<Picture>>,
    stop: CancellationToken,
}

impl Sender {
    /// Joins the room, waits for the bridge's call and begins to send. Pictures follow each other in `stretch` times
    /// their interval: a little more than 1 lets them drift through the ticks of the mixer's clock, so that no lucky
    /// phase is measured.
    pub(crate) async fn join(room: &RoomUrl, input: &Arc<Input>, stretch: f64) -> Self {
        let stop = CancellationToken::new();
        let (began_in, began) = oneshot::channel();
        let sending = tokio::spawn(run(room.clone(), Arc::clone(input), stretch, began_in, stop.clone()));
        let began = tokio::time::timeout(Duration::from_secs(20), began).await;
        Self { began: began.expect("the bridge calls within 20 s").expect("the call works"), sending, stop }
    }

    /// Leaves and tells when each picture's first packet was sent.
    pub(crate) async fn leave(self) -> Vec<Picture> {
        self.stop.cancel();
        self.sending.await.expect("the sender does not fail")
    }
}

async fn run(
    room: RoomUrl,
    input: Arc<Input>,
    stretch: f64,
    began: oneshot::Sender<Instant>,
    stop: CancellationToken,
) -> Vec<Picture> {
    let options = JoinOptions { call: Some(CallPolicy::Present), id_prefix: Some("bench-"), ..Default::default() };
    let mut session = signaling::join(room, options, CancellationToken::new());
    let commands = session.commands.clone();
    let (peer_events_in, mut peer_events) = mpsc::channel(256);
    let mut me = ParticipantId::new("");
    let mut call: Option<(ParticipantId, Peer, [OutboundTrack; 2])> = None;
    let mut began = Some(began);
    let mut tracks = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            event = session.events.recv() => match event.expect("the room stays") {
                Event::Joined { me: id, .. } => me = id,
                Event::Description { peer: id, description } => {
                    if call.is_none() {
                        let config = PeerConfig {
                            ice_servers: vec![],
                            network: Network::on(ice::local_addresses(true)),
                            codecs: vec![Codec::Vp8, Codec::Opus],
                            polite: polite(&me, &id),
                            sends: true,
                        };
                        let peer = Peer::start(id.clone(), config, peer_events_in.clone()).await.expect("a peer");
                        let video = peer.add_outbound(Codec::Vp8).await.expect("a video track");
                        let audio = peer.add_outbound(Codec::Opus).await.expect("an audio track");
                        call = Some((id, peer, [video, audio]));
                    }
                    let (_, peer, _) = call.as_ref().unwrap();
                    peer.handle_description(description).await.expect("a description that fits");
                }
                Event::Candidate { candidate, .. } => if let Some((_, peer, _)) = &call {
                    peer.handle_candidate(candidate).await.expect("a candidate that fits");
                },
                _ => {}
            },
            Some(event) = peer_events.recv() => {
                let Some((id, _, outbound)) = &call else { continue };
                let peer = id.clone();
                match event {
                    PeerEvent::LocalDescription(description) =>
                        commands.send(Command::Description { peer, description }).await.expect("the room stays"),
                    PeerEvent::LocalCandidate(candidate) =>
                        commands.send(Command::Candidate { peer, candidate }).await.expect("the room stays"),
                    PeerEvent::Connected if tracks.is_none() => {
                        let start = when_sendable(&outbound[0], &input.video[0]).await;
                        began.take().map(|began| began.send(start));
                        let [video, audio] = outbound.clone();
                        tracks = Some([
                            tokio::spawn(send(video, Arc::clone(&input), start, stretch, stop.clone())),
                            tokio::spawn(send(audio, Arc::clone(&input), start, 1.0, stop.clone())),
                        ]);
                    }
                    PeerEvent::Failed { reason } => panic!("the call failed: {reason}"),
                    _ => {}
                }
            }
        }
    }
    let sent = match tracks {
        Some([video, audio]) => {
            audio.await.expect("sound is sent");
            video.await.expect("pictures are sent")
        }
        None => Vec::new(),
    };
    if let Some((_, peer, _)) = call {
        peer.close().await;
    }
    commands.send(Command::Leave).await.ok();
    session.closed().await.ok();
    sent
}

/// The tracks are negotiated a moment before they can be sent.
async fn when_sendable(track: &OutboundTrack, first: &Unit) -> Instant {
    loop {
        if track.write(packet(&first.packets[0], 0, 0)).await.expect("the call is up") {
            return Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Sends a kind's units at their times until the media or the call ends.
async fn send(
    track: OutboundTrack,
    input: Arc<Input>,
    start: Instant,
    stretch: f64,
    stop: CancellationToken,
) -> Vec<Picture> {
    let units = match track.codec().kind() {
        MediaKind::Audio => &input.audio,
        MediaKind::Video => &input.video,
    };
    let mut sent = Vec::new();
    let mut sequence_number: u16 = 1;
    for unit in units {
        let time = unit.time.mul_f64(stretch);
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until((start + time).into()) => {}
        }
        sent.push(Picture { at: Instant::now(), bright: is_bright(unit.time) });
        let timestamp = rtp_time(time, track.codec());
        for bytes in &unit.packets {
            if track.write(packet(bytes, sequence_number, timestamp)).await.is_err() {
                return sent;
            }
            sequence_number = sequence_number.wrapping_add(1);
        }
    }
    sent
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "30 s of 90 kHz")]
pub(crate) fn rtp_time(time: Duration, codec: Codec) -> u32 {
    (time.as_secs_f64() * f64::from(codec.clock_rate())).round() as u32
}

/// The same payload with another place in its stream (RFC 3550, section 5.1).
pub(crate) fn renumber(bytes: &Bytes, sequence_number: u16, timestamp: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[2..4].copy_from_slice(&sequence_number.to_be_bytes());
    bytes[4..8].copy_from_slice(&timestamp.to_be_bytes());
    bytes
}

fn packet(bytes: &Bytes, sequence_number: u16, timestamp: u32) -> RtpPacket {
    RtpPacket::parse(renumber(bytes, sequence_number, timestamp).into()).expect("the payloader writes RTP")
}
