//! The test participant in a real room, as a receiver sees it: decoded pictures, and flash and beep in step by the
//! sender reports alone.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use roomcast::media::layout::Size;
use roomcast::peer::{InboundTrack, Network, NetworkConfig, Peer, PeerConfig, PeerEvent};
use roomcast::publish::{PublishEvent, PublishOptions, publish};
use roomcast::server::{ListenAddress, ServerConfig, serve};
use roomcast::signaling::{self, Command, Event, JoinOptions, RoomUrl};
use roomcast::terms::{Codec, MediaKind, ParticipantId, Ssrc};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// Seconds of media that are measured; the first sender reports take one.
const SECONDS: u64 = 5;

/// What a decoder made of a track: when a flash or a beep began, and how many frames there were.
#[derive(Default)]
struct Seen {
    frames: usize,
    white: Vec<bool>,
    /// In seconds since the track's first packet.
    marks: Vec<f64>,
    first_ticks: u32,
}

/// Decodes a track and notes where marks begin. Buffers carry their RTP timestamp as time since the first one.
fn decode(kind: MediaKind, seen: Arc<Mutex<Seen>>) -> (gst::Pipeline, gst_app::AppSrc) {
    let text = match kind {
        MediaKind::Video => {
            "appsrc name=in format=time caps=application/x-rtp,media=video,encoding-name=VP8,clock-rate=90000,payload=96 \
             ! rtpvp8depay ! vp8dec ! video/x-raw,format=I420 ! appsink name=out sync=false"
        }
        MediaKind::Audio => {
            "appsrc name=in format=time caps=application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,payload=111 \
             ! rtpopusdepay ! opusdec ! audioconvert ! audio/x-raw,format=S16LE,channels=1,rate=48000 ! appsink name=out sync=false"
        }
    };
    let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let input = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let output = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    output.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let buffer = sample.buffer().unwrap();
                let (time, data) = (buffer.pts().unwrap(), buffer.map_readable().unwrap());
                note(kind, time.nseconds() as f64 / 1e9, &data, &mut seen.lock().unwrap());
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    pipeline.set_state(gst::State::Playing).unwrap();
    (pipeline, input)
}

fn note(kind: MediaKind, time: f64, data: &[u8], seen: &mut Seen) {
    seen.frames += 1;
    let was = seen.white.last().copied().unwrap_or(true);
    let (now, offset) = match kind {
        MediaKind::Video => {
            let luma = &data[..data.len() * 2 / 3];
            let mean = luma.iter().map(|y| u64::from(*y)).sum::<u64>() / luma.len() as u64;
            assert!(!(90..180).contains(&mean), "a picture that is neither dark nor white: mean luma {mean}");
            (mean >= 180, 0.0)
        }
        MediaKind::Audio => {
            let loud = |sample: &[u8]| i16::from_le_bytes([sample[0], sample[1]]).unsigned_abs() > 3000;
            let onset = data.chunks_exact(2).position(loud);
            (onset.is_some(), onset.unwrap_or(0) as f64 / 48_000.0)
        }
    };
    if now && !was {
        seen.marks.push(time + offset);
    }
    seen.white.push(now);
}

async fn read(mut track: InboundTrack, seen: Arc<Mutex<Seen>>) {
    let (pipeline, input) = decode(track.kind, Arc::clone(&seen));
    let mut first = None;
    track.keyframe_requester().request();
    while let Some(packet) = track.read().await {
        if packet.is_padding() {
            continue;
        }
        let mut bytes = vec![0; packet.marshal_size()];
        packet.marshal_into(&mut bytes).unwrap();
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        let first = *first.get_or_insert_with(|| {
            seen.lock().unwrap().first_ticks = packet.timestamp();
            packet.timestamp()
        });
        let ticks = u64::from(packet.timestamp().wrapping_sub(first));
        let time = ticks * 1_000_000_000 / u64::from(track.codec.clock_rate());
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(time));
        input.push_buffer(buffer).unwrap();
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

/// The wall-clock second of a mark, by the stream's last sender report (RFC 3550, section 6.4.1).
fn wall_clock(report: &[u8], first_ticks: u32, time: f64, clock_rate: f64) -> f64 {
    let word = |at: usize| u32::from_be_bytes(report[at..at + 4].try_into().unwrap());
    let since = first_ticks.wrapping_sub(word(16)) as i32;
    f64::from(word(8)) + f64::from(word(12)) / 2f64.powi(32) + f64::from(since) / clock_rate + time
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_sees_the_flash_and_hears_the_beep_at_the_same_time() {
    roomcast::media::elements::init().unwrap();
    let cancel = CancellationToken::new();
    let listen = ListenAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
    let server = serve(ServerConfig { listen, ..Default::default() }, cancel.clone()).await.unwrap();
    let url: RoomUrl = format!("mesh+ws://{}/ws?room=test", server.addr()).parse().unwrap();

    let options = PublishOptions {
        size: Size { width: 320, height: 240 },
        fps: 30,
        video: Some(Codec::Vp8),
        video_bitrate: None,
        audio: true,
        file: None,
        duration: None,
        ice_servers: vec![],
        network: NetworkConfig { addresses: vec![LOOPBACK], ..NetworkConfig::default() },
    };
    let (events, mut published) = mpsc::channel(64);
    let stop = CancellationToken::new();
    let publishing = tokio::spawn(publish(url.clone(), options, events, stop.clone()));
    assert!(matches!(published.recv().await, Some(PublishEvent::Started { .. })));
    assert!(matches!(published.recv().await, Some(PublishEvent::Joined { .. })));

    let mut session = signaling::join(url, JoinOptions::default(), CancellationToken::new());
    let (peer_events, mut from_peer) = mpsc::channel(64);
    let network = Network::on(vec![LOOPBACK]);
    let config = PeerConfig { ice_servers: vec![], network, codecs: Codec::ALL.to_vec(), polite: true, sends: true };
    let peer = Peer::start(ParticipantId::new("sender"), config, peer_events).await.unwrap();
    let mut them = None;
    let mut tracks: HashMap<MediaKind, (Ssrc, Arc<Mutex<Seen>>)> = HashMap::new();
    let mut reports = HashMap::new();
    let mut readers = JoinSet::new();
    let mut end = std::pin::pin!(tokio::time::sleep(Duration::from_secs(30)));
    loop {
        tokio::select! {
            () = &mut end => break,
            Some(event) = session.events.recv() => match event {
                Event::PeerJoined { peer: id, .. } => {
                    them = Some(id);
                    peer.call().await.unwrap();
                }
                Event::Description { description, .. } => peer.handle_description(description).await.unwrap(),
                Event::Candidate { candidate, .. } => peer.handle_candidate(candidate).await.unwrap(),
                _ => {}
            },
            Some(event) = from_peer.recv() => match (event, them.clone()) {
                (PeerEvent::LocalDescription(description), Some(peer)) => {
                    session.commands.send(Command::Description { peer, description }).await.unwrap();
                }
                (PeerEvent::LocalCandidate(candidate), Some(peer)) => {
                    session.commands.send(Command::Candidate { peer, candidate }).await.unwrap();
                }
                (PeerEvent::TrackStarted(track), _) => {
                    let seen = Arc::new(Mutex::new(Seen::default()));
                    tracks.insert(track.kind, (track.ssrc, Arc::clone(&seen)));
                    readers.spawn(read(track, seen));
                    if tracks.len() == 2 {
                        end.as_mut().reset(tokio::time::Instant::now() + Duration::from_secs(SECONDS));
                    }
                }
                (PeerEvent::SenderReport { ssrc, compound }, _) => {
                    reports.insert(ssrc, compound);
                }
                (PeerEvent::Failed { reason }, _) => panic!("{reason}"),
                _ => {}
            }
        }
    }
    stop.cancel();
    publishing.await.unwrap().unwrap();
    session.closed().await.unwrap();
    peer.close().await;
    while readers.join_next().await.is_some() {}
    cancel.cancel();
    server.closed().await;

    let marks = |kind, clock_rate| -> Vec<f64> {
        let (ssrc, seen) = &tracks[&kind];
        let seen = seen.lock().unwrap();
        seen.marks.iter().map(|time| wall_clock(&reports[ssrc], seen.first_ticks, *time, clock_rate)).collect()
    };
    let (flashes, beeps) = (marks(MediaKind::Video, 90_000.0), marks(MediaKind::Audio, 48_000.0));
    let video = tracks[&MediaKind::Video].1.lock().unwrap();
    assert!(video.frames >= 30 * (SECONDS as usize - 1), "{} frames in {SECONDS} s", video.frames);
    let runs: Vec<usize> = video.white.split(|white| !white).map(<[bool]>::len).filter(|length| *length > 0).collect();
    assert!(runs[1..runs.len() - 1].iter().all(|length| *length == 3), "a flash lasts three frames: {runs:?}");
    let mut skews: Vec<f64> = flashes
        .iter()
        .filter_map(|flash| beeps.iter().map(|beep| flash - beep).min_by(|a, b| a.abs().total_cmp(&b.abs())))
        .filter(|skew| skew.abs() < 0.5)
        .collect();
    skews.sort_by(f64::total_cmp);
    assert!(skews.len() >= 3, "flashes at {flashes:?}, beeps at {beeps:?}");
    let median = skews[skews.len() / 2];
    println!("skew {:.1} ms; each: {skews:.4?}", median * 1000.0);
    assert!(median.abs() <= 0.020, "flash and beep are {:.1} ms apart: {skews:?}", median * 1000.0);
}
