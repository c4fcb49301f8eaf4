//! `roomcast demo` as `make run` runs it: a room with somebody in it, and every way to watch.

mod support;

use std::time::Duration;

use support::{Roomcast, free_tcp_port, one_at_a_time, probe};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_its_participant_in_every_output_until_it_is_stopped() {
    let _turn = one_at_a_time().await;
    let directory = tempfile::tempdir().unwrap();
    let (listen, dir) = (format!("127.0.0.1:{}", free_tcp_port()), directory.path().to_str().unwrap());
    let mut demo = Roomcast::start(["demo", "--listen", &listen, "--dir", dir, "--size", "320x180"]);
    for _ in ["RTP", "HLS", "recording", "live.ts"] {
        demo.wait_event("output_ready", SOON).await;
    }
    // The participant flashes and beeps: nobody else would.
    for source in [format!("http://{listen}/rooms/demo/live.ts"), format!("{dir}/call.sdp")] {
        let report = probe(&source, &["--duration", "5"]).await;
        assert!(report["skew"]["count"].as_u64() >= Some(3), "{source}: {report:#}\n{}", demo.log());
    }
    assert!(demo.terminate(SOON).await.success(), "{}", demo.log());
    let events = demo.events();
    assert!(events.iter().all(|event| event["event"] != "participant_failed"), "{events:#?}");
    let recording = events.iter().find_map(|event| event["recording"].as_str()).expect("where the recording is");
    let report = probe(recording, &[]).await;
    assert_eq!(report["problems"], serde_json::json!([]), "{report:#}");
    assert!(report["skew"]["count"].as_u64() >= Some(3), "{report:#}");
}
