//! Two connections in one process on 127.0.0.1: what the bridge and the test participant rely on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

use std::net::IpAddr;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use roomcast::peer::{
    InboundTrack, Network, NetworkConfig, OutboundTrack, Peer, PeerConfig, PeerError, PeerEvent, RtpPacket,
};
use roomcast::terms::{Codec, IceCandidate, MediaKind, ParticipantId, SdpType, SessionDescription};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(20);

struct Side {
    peer: Peer,
    events: mpsc::Receiver<PeerEvent>,
    sent: Vec<SessionDescription>,
}

async fn start(name: &str, polite: bool) -> Side {
    start_on(Network::on(vec![IpAddr::from([127, 0, 0, 1])]), name, polite).await
}

async fn start_on(network: Network, name: &str, polite: bool) -> Side {
    start_with(PeerConfig { ice_servers: vec![], network, codecs: Codec::ALL.to_vec(), polite, sends: true }, name)
        .await
}

async fn start_with(config: PeerConfig, name: &str) -> Side {
    let (sender, events) = mpsc::channel(8);
    let peer = Peer::start(ParticipantId::new(name), config, sender).await.unwrap();
    Side { peer, events, sent: vec![] }
}

/// Two sides whose signaling never loses anything, and the packets that they send.
struct Pair {
    sides: [Side; 2],
    senders: JoinSet<()>,
}

impl Pair {
    async fn start() -> Self {
        Self { sides: [start("impolite", false).await, start("polite", true).await], senders: JoinSet::new() }
    }

    /// Sends `side`'s track for as long as the pair lives: 50 packets a second.
    async fn send(&mut self, side: usize, codec: Codec) -> OutboundTrack {
        let track = self.sides[side].peer.add_outbound(codec).await.unwrap();
        let sending = track.clone();
        self.senders.spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            for number in 0.. {
                tick.tick().await;
                if sending.write(packet(number)).await.is_err() {
                    return;
                }
            }
        });
        track
    }

    /// Carries signaling until something else happens, and says where.
    async fn next(&mut self) -> (usize, PeerEvent) {
        loop {
            let [a, b] = &mut self.sides;
            let (from, event) = tokio::time::timeout(PATIENCE, async {
                tokio::select! {
                    event = a.events.recv() => (0, event),
                    event = b.events.recv() => (1, event),
                }
            })
            .await
            .expect("nothing happened for 20 s");
            let to = 1 - from;
            match event.expect("a side ended") {
                PeerEvent::LocalDescription(description) => {
                    self.sides[from].sent.push(description.clone());
                    self.sides[to].peer.handle_description(description).await.unwrap();
                }
                PeerEvent::LocalCandidate(candidate) => {
                    self.sides[to].peer.handle_candidate(candidate).await.unwrap();
                }
                PeerEvent::Failed { reason } => panic!("{reason}"),
                event => return (from, event),
            }
        }
    }

    /// Waits until tracks of these kinds started on these sides.
    async fn tracks(&mut self, wanted: &[(usize, MediaKind)]) -> Vec<InboundTrack> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut found: Vec<Option<InboundTrack>> = wanted.iter().map(|_| None).collect();
        while found.iter().any(Option::is_none) {
            let event = tokio::time::timeout_at(deadline, self.next()).await;
            if let (side, PeerEvent::TrackStarted(track)) = event.expect("a track did not start in 20 s") {
                let at = wanted.iter().position(|place| *place == (side, track.kind)).expect("an unexpected track");
                assert!(found[at].replace(track).is_none(), "a track started twice");
            }
        }
        found.into_iter().map(Option::unwrap).collect()
    }

    async fn close(self) {
        let [a, b] = self.sides;
        a.peer.close().await;
        b.peer.close().await;
        drop(self.senders);
    }
}

/// Packet `number` of a stream, as a payloader would write it.
fn packet(number: u16) -> RtpPacket {
    let mut bytes = BytesMut::new();
    bytes.put_slice(&[0x80, 96]);
    bytes.put_u16(number);
    bytes.put_u32(u32::from(number) * 960);
    bytes.put_u32(1);
    bytes.put_slice(&[0x10, 0x02, 0x00]);
    bytes.put_u16(number);
    RtpPacket::parse(bytes.freeze()).unwrap()
}

async fn expect_media(track: &mut InboundTrack) {
    let mut last = None;
    for _ in 0..20 {
        let packet = tokio::time::timeout(PATIENCE, track.read()).await.unwrap().expect("the track ended");
        assert_eq!(packet.ssrc(), track.ssrc);
        assert_eq!(packet.codec(), Some(track.codec));
        assert_eq!(packet.payload()[3..], packet.sequence_number().to_be_bytes(), "the payload of another packet");
        assert!(last.is_none_or(|last| packet.sequence_number() > last), "loopback neither loses nor reorders");
        last = Some(packet.sequence_number());
    }
}

#[tokio::test]
async fn a_call_carries_audio_video_reports_and_keyframe_requests() {
    let mut pair = Pair::start().await;
    pair.send(0, Codec::Opus).await;
    let video = pair.send(0, Codec::Vp8).await;
    pair.sides[0].peer.call().await.unwrap();
    let mut tracks = pair.tracks(&[(1, MediaKind::Audio), (1, MediaKind::Video)]).await;
    assert_eq!([tracks[0].codec, tracks[1].codec], [Codec::Opus, Codec::Vp8]);
    for track in &mut tracks {
        expect_media(track).await;
    }
    tracks[1].keyframe_requester().request();
    tokio::time::timeout(PATIENCE, video.keyframe_requested()).await.expect("the request never came");
    let compound = loop {
        if let (1, PeerEvent::SenderReport { ssrc, compound }) = pair.next().await
            && ssrc == tracks[1].ssrc
        {
            break compound;
        }
    };
    assert_eq!(compound[1], 200, "a sender report first");
    assert_eq!(compound[29], 202, "then the source description that names both tracks");
    let stats = pair.sides[1].peer.stats().await;
    let counted = stats.inbound.iter().find(|stream| stream.ssrc == tracks[1].ssrc).expect("no counters");
    assert!(counted.packets_received >= 20 && counted.packets_lost <= 0, "{counted:?}");
    pair.close().await;
}

#[tokio::test]
async fn every_video_codec_is_negotiated() {
    for codec in [Codec::H264, Codec::Vp9, Codec::Av1] {
        let mut pair = Pair::start().await;
        pair.send(0, codec).await;
        pair.sides[0].peer.call().await.unwrap();
        let mut tracks = pair.tracks(&[(1, MediaKind::Video)]).await;
        assert_eq!(tracks[0].codec, codec);
        expect_media(&mut tracks[0]).await;
        pair.close().await;
    }
}

#[tokio::test]
async fn a_listener_can_call_the_one_who_sends() {
    let mut pair = Pair::start().await;
    pair.send(1, Codec::Opus).await;
    pair.send(1, Codec::Vp8).await;
    pair.sides[0].peer.call().await.unwrap();
    for mut track in pair.tracks(&[(0, MediaKind::Audio), (0, MediaKind::Video)]).await {
        expect_media(&mut track).await;
    }
    pair.close().await;
}

#[tokio::test]
async fn both_calling_at_once_converges() {
    let mut pair = Pair::start().await;
    for side in 0..2 {
        pair.send(side, Codec::Opus).await;
        pair.send(side, Codec::Vp8).await;
        pair.sides[side].peer.call().await.unwrap();
    }
    let everywhere = [(0, MediaKind::Audio), (0, MediaKind::Video), (1, MediaKind::Audio), (1, MediaKind::Video)];
    for mut track in pair.tracks(&everywhere).await {
        expect_media(&mut track).await;
    }
    pair.close().await;
}

#[tokio::test]
async fn both_listeners_calling_at_once_converge_and_may_send_later() {
    let mut pair = Pair::start().await;
    for side in 0..2 {
        pair.sides[side].peer.call().await.unwrap();
    }
    let mut connected = [false; 2];
    while connected != [true; 2] {
        if let (side, PeerEvent::Connected) = pair.next().await {
            connected[side] = true;
        }
    }
    pair.send(1, Codec::Vp8).await;
    let mut tracks = pair.tracks(&[(0, MediaKind::Video)]).await;
    expect_media(&mut tracks[0]).await;
    pair.close().await;
}

#[tokio::test]
async fn a_track_added_later_is_negotiated_by_itself() {
    let mut pair = Pair::start().await;
    pair.send(0, Codec::Opus).await;
    pair.sides[0].peer.call().await.unwrap();
    pair.tracks(&[(1, MediaKind::Audio)]).await;
    for side in 0..2 {
        pair.send(side, Codec::Vp8).await;
        let mut tracks = pair.tracks(&[(1 - side, MediaKind::Video)]).await;
        expect_media(&mut tracks[0]).await;
    }
    pair.close().await;
}

#[tokio::test]
async fn an_ice_restart_keeps_media_flowing() {
    survives_an_ice_restart(Pair::start().await).await;
}

#[tokio::test]
async fn shared_ports_carry_several_calls_through_an_ice_restart_and_are_empty_afterwards() {
    let config = NetworkConfig {
        addresses: vec![IpAddr::from([127, 0, 0, 1])],
        udp_ports: Some("0".parse().unwrap()),
        ..NetworkConfig::default()
    };
    // One side has a port of its own in each call, as participants have.
    let bridge = Network::open(&config, true).unwrap();
    let mut calls = JoinSet::new();
    for call in 0..4 {
        let ours = start_on(bridge.clone(), &format!("bridge-{call}"), false).await;
        let sides = [ours, start(&format!("participant-{call}"), true).await];
        calls.spawn(survives_an_ice_restart(Pair { sides, senders: JoinSet::new() }));
    }
    assert_eq!(bridge.usage().unwrap().connections, 4);
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    let usage = bridge.usage().unwrap();
    assert_eq!((usage.connections, usage.routes, usage.dropped), (0, 0, 0), "{usage:?}");
}

async fn survives_an_ice_restart(mut pair: Pair) {
    pair.send(0, Codec::Vp8).await;
    pair.sides[0].peer.call().await.unwrap();
    let mut tracks = pair.tracks(&[(1, MediaKind::Video)]).await;
    let ufrag = |pair: &Pair| {
        let offer = pair.sides[0].sent.last().unwrap();
        offer.sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:").map(str::to_owned)).unwrap()
    };
    let before = ufrag(&pair);
    pair.sides[0].peer.restart_ice().await.unwrap();
    // The next sender report comes after the new descriptions.
    while pair.sides[1].sent.len() < 2 || !matches!(pair.next().await, (1, PeerEvent::SenderReport { .. })) {
        if pair.sides[1].sent.len() < 2 {
            pair.next().await;
        }
    }
    assert_ne!(ufrag(&pair), before);
    let packet = tokio::time::timeout(PATIENCE, tracks[0].read()).await.unwrap();
    assert!(packet.is_some());
    pair.close().await;
}

#[tokio::test]
async fn a_track_that_the_other_side_stops_and_resumes_is_reported() {
    let mut pair = Pair::start().await;
    pair.send(0, Codec::Vp8).await;
    pair.sides[0].peer.call().await.unwrap();
    let tracks = pair.tracks(&[(1, MediaKind::Video)]).await;
    let offer = pair.sides[0].sent[0].clone();
    for (direction, expected) in [("a=inactive", false), ("a=sendrecv", true)] {
        let sdp = offer.sdp.replace("a=sendrecv", direction);
        let again = SessionDescription { kind: SdpType::Offer, sdp };
        pair.sides[1].peer.handle_description(again).await.unwrap();
        let reported = loop {
            match tokio::time::timeout(PATIENCE, pair.sides[1].events.recv()).await.unwrap().unwrap() {
                PeerEvent::TrackActive { mid, kind: MediaKind::Video, active } if mid == tracks[0].mid => break active,
                _ => {}
            }
        };
        assert_eq!(reported, expected);
    }
    pair.close().await;
}

#[tokio::test]
async fn closing_ends_tracks_and_leaves_nothing_running() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let mut pair = Pair::start().await;
    let video = pair.send(0, Codec::Vp8).await;
    pair.sides[0].peer.call().await.unwrap();
    let mut tracks = pair.tracks(&[(1, MediaKind::Video)]).await;
    pair.close().await;
    while let Some(_waiting) = tokio::time::timeout(PATIENCE, tracks[0].read()).await.unwrap() {}
    assert!(!video.write(packet(1)).await.unwrap_or(false), "a closed track took a packet");
    drop((tracks, video));
    // Aborted tasks are gone once the scheduler has seen them.
    tokio::time::timeout(PATIENCE, async {
        while alive() > before {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("tasks were left behind");
}

#[tokio::test]
async fn candidates_may_come_before_the_offer() {
    let side = start("early", true).await;
    let candidate = IceCandidate {
        candidate: "candidate:1 1 udp 2130706431 127.0.0.1 9 typ host".into(),
        sdp_m_line_index: Some(0),
        ..Default::default()
    };
    for _ in 0..256 {
        side.peer.handle_candidate(Some(candidate.clone())).await.unwrap();
    }
    side.peer.handle_candidate(None).await.unwrap();
    let flood = side.peer.handle_candidate(Some(candidate)).await;
    assert!(matches!(flood, Err(PeerError::TooManyCandidates { .. })), "{flood:?}");
    side.peer.close().await;
}

#[tokio::test]
async fn hostile_descriptions_are_refused_and_stale_answers_ignored() {
    let minimal = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n";
    let hostile = [
        String::new(),
        "garbage".to_owned(),
        "v=0\r\n".to_owned(),
        "\0\0\0\0m=\r\n".to_owned(),
        "x".repeat(1 << 20),
        "m=video\r\n".repeat(100),
        format!("{minimal}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(10_000)),
        minimal.to_owned(),
        format!("{minimal}a=mid:0\r\na=rtpmap:96 VP8/90000\r\n"),
        format!("{minimal}a=mid:0\r\na=ice-ufrag:a\r\na=ice-pwd:b\r\na=fingerprint:sha-256 zz\r\n"),
        format!("{minimal}a=mid:0\r\na=ice-ufrag:a\r\na=ice-pwd:b\r\na=fingerprint:\r\na=candidate:\r\n"),
        format!("{minimal}a=ssrc-group:FID 1\r\na=ssrc:x\r\na=extmap:99999999999 \r\na=rtpmap:999 \u{0}/\r\n"),
        format!("{minimal}a=mid:{}\r\na=rid:\r\na=simulcast:send ;;;~\r\n", "9".repeat(5000)),
    ];
    for sdp in hostile {
        let side = start("victim", true).await;
        let shown: String = sdp.chars().take(200).collect();
        let answer = side.peer.handle_description(SessionDescription { kind: SdpType::Answer, sdp: sdp.clone() }).await;
        assert!(!matches!(answer, Err(PeerError::Closed)), "the connection's task died of an answer: {shown}");
        let offer = side.peer.handle_description(SessionDescription { kind: SdpType::Offer, sdp }).await;
        assert!(offer.is_err() && !matches!(offer, Err(PeerError::Closed)), "{offer:?} for {shown}");
        side.peer.close().await;
    }
}

#[tokio::test]
async fn a_connection_without_codecs_or_addresses_is_refused() {
    for (codecs, addresses) in [(vec![], vec![IpAddr::from([127, 0, 0, 1])]), (vec![Codec::Vp8], vec![])] {
        let config =
            PeerConfig { ice_servers: vec![], network: Network::on(addresses), codecs, polite: true, sends: true };
        assert!(Peer::start(ParticipantId::new("x"), config, mpsc::channel(1).0).await.is_err());
    }
}

#[tokio::test]
async fn who_only_sends_learns_what_arrives_and_what_is_not_taken() {
    let side = async |codecs: &[Codec], polite, name| {
        let network = Network::on(vec![IpAddr::from([127, 0, 0, 1])]);
        start_with(PeerConfig { ice_servers: vec![], network, codecs: codecs.to_vec(), polite, sends: !polite }, name)
            .await
    };
    let sides = [
        side(&[Codec::H264, Codec::Opus], false, "sender").await,
        side(&[Codec::Vp8, Codec::Opus], true, "taker").await,
    ];
    assert!(sides[1].peer.add_outbound(Codec::Vp8).await.is_err(), "the taker was made to receive only");
    let mut pair = Pair { sides, senders: JoinSet::new() };
    let picture = pair.send(0, Codec::H264).await;
    let sound = pair.send(0, Codec::Opus).await;
    pair.sides[0].peer.push().await.unwrap();
    while !matches!(pair.next().await, (0, PeerEvent::Connected)) {}
    let offer = &pair.sides[0].sent[0].sdp;
    assert!(offer.contains("a=sendonly") && !offer.contains("a=sendrecv") && !offer.contains("a=recvonly"), "{offer}");
    let answer = &pair.sides[1].sent[0].sdp;
    assert_eq!((sound.is_sendable(), picture.is_sendable()), (true, false), "{answer}");
    let arrived = async {
        tokio::select! {
            () = sound.arrived() => {}
            () = async { loop { pair.next().await; } } => {}
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.expect("the other side reports what it receives");
    assert!(tokio::time::timeout(Duration::from_millis(10), picture.arrived()).await.is_err());
    pair.close().await;
}
