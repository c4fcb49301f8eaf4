//! A real browser sends each codec that the bridge offers first, and the bridge decodes it.

mod support;

use std::time::Duration;

use support::{Caller, FlashAndBeep, Roomcast, assert_whole, one_at_a_time, picture_at, time_of};

const SOON: Duration = Duration::from_secs(30);
const SMALL: FlashAndBeep = FlashAndBeep { width: 320, height: 180, fps: 15, camera: true, microphone: true };
const CANVAS: (usize, usize) = (320, 180);

#[tokio::test(flavor = "multi_thread")]
async fn a_browsers_h264_vp9_and_av1_are_decoded_when_they_are_offered_first() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let directory = tempfile::tempdir().unwrap();
    for codec in ["h264", "vp9", "av1"] {
        let caller = Caller::join(&base, codec, SMALL).await;
        let file = directory.path().join(format!("{codec}.mkv")).to_string_lossy().into_owned();
        let room = format!("{}/ws?room={codec}", base.replace("http", "mesh+ws"));
        let mut bridge = Roomcast::start(["bridge", &room, "--size", "320x180", "--codecs", codec, "-o", &file]);
        let joined = time_of(&bridge.wait_event("joined", SOON).await);
        let kinds = [bridge.wait_event("track_started", SOON).await, bridge.wait_event("track_started", SOON).await];
        let video = kinds.iter().find(|event| event["kind"] == "video").expect("a picture");
        assert_eq!(video["codec"], codec, "{kinds:#?}");
        // The decoder's own count, not the packets'.
        loop {
            let stats = bridge.wait_event("stats", SOON).await;
            if stats["participants"][0]["fps"].as_f64() >= Some(5.0) {
                break;
            }
        }
        let wall = jiff::Timestamp::now().duration_since(joined).as_secs_f64();
        assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
        assert_whole(&file, wall, &bridge).await;
        let picture = picture_at(&file, Duration::from_secs_f64(wall - 0.5), CANVAS).await;
        let mean = picture.iter().map(|luma| f64::from(*luma)).sum::<f64>() / picture.len() as f64;
        assert!(mean > 5.0, "{codec}: the canvas is empty: {mean}");
        drop(caller);
    }
}
