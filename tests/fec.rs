//! Forward error correction of a browser: where a round trip takes longer than a jitter buffer waits, a lost packet that is sent again
//! comes too late, and what the browser has sent along with it makes it good.
//!
//! Chromium does so when its field trials tell it to. How packets are rebuilt, and who is told what of them, is in
//! `src/peer/fec/tests.rs`. Seen to fail: without `FecDecoders` in `codecs::interceptors` nothing was rebuilt in 60 s;
//! with them it takes a few.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]
#![allow(clippy::print_stderr, reason = "what was measured belongs to the output of a test")]

mod support;

use std::net::IpAddr;
use std::time::Duration;

use roomcast::peer::{Network, Peer, PeerConfig, PeerEvent};
use roomcast::terms::{Codec, ParticipantId, SdpType, SessionDescription};
use support::{BadWire, Caller, FlashAndBeep, Namespace, Roomcast, one_at_a_time, probe};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(30);
const FLEXFEC: &str = "--force-fieldtrials=WebRTC-FlexFEC-03/Enabled/WebRTC-FlexFEC-03-Advertised/Enabled/";
/// The more packets a picture has, the more of them a browser protects.
const CAMERA: FlashAndBeep = FlashAndBeep { width: 640, height: 360, fps: 15, camera: true, microphone: true };

#[tokio::test(flavor = "multi_thread")]
async fn what_a_far_browser_protects_is_rebuilt_when_it_is_lost() {
    let _turn = one_at_a_time().await;
    let Some(here) = Namespace::around("what_a_far_browser_protects_is_rebuilt_when_it_is_lost").await else { return };
    // From the start: a way that becomes longer is taken for one that is too narrow.
    let mut wire = BadWire::from(here, "delay=200").await;
    let mut server = Roomcast::start(["serve", "--listen", "0.0.0.0:8080", "--no-bridges"]);
    server.wait_event("listening", SOON).await;
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy.mkv").to_string_lossy().into_owned();
    let output = format!("{copy}?video=copy&audio=copy");
    let mut bridge = wire.right.roomcast(["bridge", "mesh+ws://10.9.0.1:8080/ws?room=r", "-o", &output]);
    bridge.wait_event("joined", SOON).await;
    let browser = Caller::join_with("http://127.0.0.1:8080", "r", CAMERA, &[FLEXFEC]).await;
    browser.page.eval("__capture.busy = true").await;
    let negotiated = "[...state.peers.values()].some(({ pc }) => pc.remoteDescription.sdp.includes('flexfec-03/90000')
        && /a=ssrc-group:FEC-FR \\d+ \\d+/.test(pc.localDescription.sdp))";
    browser.until(negotiated).await;
    bridge.wait_event("output_ready", SOON).await;

    wire.change("loss=5").await;
    let began = Instant::now();
    let rebuilt = loop {
        let stats = bridge.wait_event("stats", SOON).await;
        let rebuilt = stats["participants"][0]["rebuilt"].as_u64().expect("a number");
        if rebuilt > 0 {
            break rebuilt;
        }
        assert!(began.elapsed() < 2 * SOON, "nothing was rebuilt in {:?}: {stats:#}", began.elapsed());
    };
    eprintln!("{rebuilt} packets rebuilt in {:.0} s, {}", began.elapsed().as_secs_f64(), wire.count().await);
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());

    // A file that got no picture for seconds goes on in another.
    let parts: Vec<_> = bridge.events().into_iter().filter(|event| event["event"] == "part_finished").collect();
    assert!(!parts.is_empty(), "{}", bridge.log());
    for part in parts {
        let report = probe(part["file"].as_str().unwrap(), &[]).await;
        for stream in report["streams"].as_array().unwrap() {
            assert_eq!(stream["decode_errors"], 0, "{report:#}");
        }
    }
}

/// A connection for H.264 that says something.
struct Side {
    peer: Peer,
    events: mpsc::Receiver<PeerEvent>,
}

impl Side {
    async fn start(sends: bool) -> Self {
        let (sender, events) = mpsc::channel(64);
        let network = Network::on(vec![IpAddr::from([127, 0, 0, 1])]);
        let config = PeerConfig { ice_servers: vec![], network, codecs: vec![Codec::H264], polite: true, sends };
        Self { peer: Peer::start(ParticipantId::new("side"), config, sender).await.unwrap(), events }
    }

    async fn description(&mut self) -> String {
        let description = async {
            loop {
                if let PeerEvent::LocalDescription(description) = self.events.recv().await.unwrap() {
                    return description.sdp;
                }
            }
        };
        timeout(SOON, description).await.unwrap()
    }

    async fn offer(sends: bool) -> String {
        let mut side = Self::start(sends).await;
        if sends {
            side.peer.add_outbound(Codec::H264).await.unwrap();
        }
        side.peer.call().await.unwrap();
        let offer = side.description().await;
        side.peer.close().await;
        offer
    }

    async fn answer(sends: bool, offer: &str) -> String {
        let mut side = Self::start(sends).await;
        let offer = SessionDescription { kind: SdpType::Offer, sdp: offer.to_owned() };
        side.peer.handle_description(offer).await.unwrap();
        let answer = side.description().await;
        side.peer.close().await;
        answer
    }
}

/// Whether there is H.264 in a description, and FlexFEC.
fn formats(sdp: &str) -> (bool, bool) {
    let sdp = sdp.to_lowercase();
    (sdp.contains(" h264/90000"), sdp.contains(" flexfec-03/90000"))
}

/// Without `fec::beside_ours` the answer to a picture in another profile was `(false, true)`: FlexFEC alone.
#[tokio::test]
async fn who_only_receives_takes_flexfec_and_it_displaces_no_picture() {
    assert_eq!(formats(&Side::offer(false).await), (true, true));
    let plain = Side::offer(true).await;
    assert_eq!(formats(&plain), (true, false));
    assert_eq!(formats(&Side::answer(false, &plain).await), (true, false));

    let mut offer = String::new();
    for line in plain.lines() {
        let flexfec = match line {
            _ if line.starts_with("m=video ") => " 49",
            _ if line.starts_with("a=mid:") => "\r\na=rtpmap:49 flexfec-03/90000",
            _ => "",
        };
        offer.push_str(&format!("{line}{flexfec}\r\n"));
    }
    assert_eq!(formats(&Side::answer(false, &offer).await), (true, true), "{offer}");
    assert_eq!(formats(&Side::answer(true, &offer).await), (true, false), "{offer}");
    let another = offer.replace("profile-level-id=42", "profile-level-id=64");
    assert_eq!(formats(&Side::answer(false, &another).await), (true, false), "{another}");
}
