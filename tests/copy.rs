//! One participant's VP8 and Opus in a WebM as they came: not decoded, not mixed, not encoded again.

mod support;

use std::time::Duration;

use support::{Roomcast, one_at_a_time, probe};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_webm_takes_the_streams_of_whoever_sends_first_and_then_of_the_next() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("copy.webm").to_string_lossy().into_owned();
    let mut bridge = Roomcast::start(["bridge", &room, "-o", &format!("{file}?video=copy&audio=copy")]);
    bridge.wait_event("joined", SOON).await;

    for size in ["320x180", "192x108"] {
        let mut person = Roomcast::start(["publish", &room, "--size", size, "--fps", "15"]);
        for _ in ["audio", "video"] {
            bridge.wait_event("track_started", SOON).await;
        }
        if size == "320x180" {
            bridge.wait_event("output_ready", SOON).await;
        }
        // What flows for this long is what is looked for below.
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(person.terminate(SOON).await.success(), "{}", person.log());
        bridge.wait_event("participant_left", SOON).await;
    }
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());

    let report = probe(&file, &[]).await;
    let stream = |kind: &str| {
        let streams = report["streams"].as_array().unwrap();
        streams.iter().find(|stream| stream["kind"] == kind).unwrap_or_else(|| panic!("no {kind}: {report:#}")).clone()
    };
    let (video, audio) = (stream("video"), stream("audio"));
    assert_eq!((&video["codec"], &audio["codec"]), (&"vp8".into(), &"opus".into()), "{report:#}");
    // The sizes are the participants' own, one after the other, not the canvas's.
    assert_eq!(
        (&video["width"], &video["height"], &video["size_changes"]),
        (&192.into(), &108.into(), &1.into()),
        "{report:#}"
    );
    assert_eq!((&video["decode_errors"], &audio["decode_errors"]), (&0.into(), &0.into()), "{report:#}");
    assert!(video["frames"].as_u64() >= Some(60), "{report:#}");
}
