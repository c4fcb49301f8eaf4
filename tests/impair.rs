//! Bad networks: what gets lost is asked for again, what cannot be got back is concealed, and the timeline stays.
//!
//! What a participant's recording by copy holds is what arrived in time. Without retransmission (`nack` and `rtx` taken from the
//! offered codecs in `src/peer/codecs.rs`) the first test finds every keyframe interval torn.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]
#![allow(clippy::print_stderr, reason = "what was measured belongs to the output of a test")]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::{BadWire, one_at_a_time, probe};

const SOON: Duration = Duration::from_secs(30);
const LENGTH: Duration = Duration::from_secs(20);
const FPS: f64 = 30.0;

/// What a bridge on the right received of a participant on the left.
struct Received {
    /// The probe's report of the recording by copy.
    copy: Value,
    /// That of the recording of the mix.
    mix: Value,
    /// How many pictures of the mix this machine was too slow for.
    unencoded: f64,
    /// Seconds from the joining of the bridge to its end.
    wall: f64,
}

impl Received {
    fn stream<'a>(report: &'a Value, kind: &str) -> &'a Value {
        let streams = report["streams"].as_array().unwrap();
        streams.iter().find(|stream| stream["kind"] == kind).unwrap_or_else(|| panic!("no {kind}: {report:#}"))
    }

    /// The part of the pictures that were there to be decoded, 0 to 1.
    fn share(&self) -> f64 {
        let video = Self::stream(&self.copy, "video");
        video["frames"].as_f64().unwrap() / (video["duration"].as_f64().unwrap() * FPS)
    }

    /// The longest time without a new picture, in seconds.
    fn worst_freeze(&self) -> f64 {
        let gaps = Self::stream(&self.copy, "video")["gaps"]["first"].as_array().unwrap();
        gaps.iter().map(|gap| gap["length"].as_f64().unwrap()).fold(0.0, f64::max)
    }

    fn errors(&self) -> u64 {
        ["video", "audio"].iter().map(|kind| Self::stream(&self.copy, kind)["decode_errors"].as_u64().unwrap()).sum()
    }

    /// Asserts what holds on every network: the mix is as long as the time that passed, and has no hole but for the pictures
    /// that the bridge itself says this machine was too slow to encode.
    fn assert_timeline(&self) {
        for kind in ["video", "audio"] {
            let stream = Self::stream(&self.mix, kind);
            let end = stream["start"].as_f64().unwrap() + stream["duration"].as_f64().unwrap();
            assert!(
                (self.wall - 0.5..self.wall + 0.3).contains(&end),
                "{kind} ends at {end} of {}: {:#}",
                self.wall,
                self.mix
            );
            let allowed = if kind == "video" { (self.unencoded + 0.1) / FPS } else { 0.0 };
            assert_eq!(stream["decode_errors"], 0, "{:#}", self.mix);
            assert!(stream["gaps"]["total"].as_f64().unwrap() <= allowed, "{allowed} s: {:#}", self.mix);
        }
    }
}

/// Records a participant over a wire with these settings.
async fn receive(settings: &str) -> Received {
    let wire = BadWire::new("").await;
    let mut server = wire.right.roomcast(["serve", "--listen", "10.9.0.2:8080", "--no-bridges"]);
    server.wait_event("listening", SOON).await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (copy, mix) = (path("copy.mkv"), path("mix.mkv"));
    let room = "mesh+ws://10.9.0.2:8080/ws?room=r";
    let copied = format!("{copy}?video=copy&audio=copy");
    let size = ["--size", "320x180", "--fps", "30"];
    let mut bridge = wire.right.roomcast(["bridge", room, "-o", &copied, "-o", &mix].iter().chain(&size));
    let joined = bridge.wait_event("joined", SOON).await;
    let person = wire.left.roomcast(["publish", room, "--video-bitrate", "600k"].iter().chain(&size));
    for _ in 0..2 {
        bridge.wait_event("output_ready", SOON).await;
    }
    let mut wire = wire;
    wire.change(settings).await;
    tokio::time::sleep(LENGTH).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    let stopped = bridge.wait_event("stopped", SOON).await;
    drop((person, server));
    eprintln!("{settings}: {}", wire.end().await);
    let wall = stopped["summary"]["duration"].as_f64().unwrap_or_else(|| panic!("{joined} {stopped:#}"));
    let unencoded = stopped["summary"]["frames_dropped"].as_f64().unwrap();
    Received { copy: probe(&copy, &[]).await, mix: probe(&mix, &[]).await, unencoded, wall }
}

/// Percent of all packets, in both directions, that get lost on a way of 15 ms, and the part of the pictures that must come through.
/// `make test` tries the second, `make chaos` all.
const LOSSES: [(u32, f64); 4] = [(1, 0.99), (5, 0.99), (3, 0.99), (10, 0.95)];

#[tokio::test(flavor = "multi_thread")]
async fn loss_is_made_good_by_retransmission() {
    let _turn = one_at_a_time().await;
    let losses = if std::env::var_os("ROOMCAST_CHAOS").is_some() { &LOSSES[..] } else { &LOSSES[1..2] };
    for (loss, least) in losses {
        let received = receive(&format!("loss={loss} delay=15")).await;
        let (share, freeze) = (received.share(), received.worst_freeze());
        eprintln!("{loss} % of loss: {:.2} % of the pictures, worst freeze {freeze:.3} s", share * 100.0);
        assert_eq!(received.errors(), 0, "{:#}", received.copy);
        assert!(share >= *least && freeze < 1.0, "{share} of the pictures, freeze {freeze} s: {:#}", received.copy);
        received.assert_timeline();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bursts_jitter_copies_and_overtaking_packets_neither_tear_nor_stretch() {
    let _turn = one_at_a_time().await;
    let received = receive("loss=3 burst=4 delay=20 jitter=60 duplicate=5").await;
    let (share, freeze) = (received.share(), received.worst_freeze());
    eprintln!("{:.2} % of the pictures, worst freeze {freeze:.3} s", share * 100.0);
    assert_eq!(received.errors(), 0, "{:#}", received.copy);
    // Packets lost together with their repairs, 80 ms away: what does not come within the jitter budget is left out.
    assert!(share >= 0.85 && freeze < 1.0, "{share} of the pictures, freeze {freeze} s: {:#}", received.copy);
    received.assert_timeline();
}
