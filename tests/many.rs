//! Twenty participants, most of whom come within a second: twelve are seen, all are heard.

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use support::{Caller, FlashAndBeep, Roomcast, assert_whole, one_at_a_time, picture_at, time_of};

/// Twenty processes and two browsers start at once on whatever runs the tests.
const PATIENCE: Duration = Duration::from_secs(60);
const TINY: FlashAndBeep = FlashAndBeep { width: 160, height: 90, fps: 5, camera: true, microphone: true };
const CANVAS: (usize, usize) = (640, 360);
const STORM: usize = 18;
/// An empty part of the canvas is at 0 in full range.
const DARK: f64 = 5.0;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_who_come_at_once_are_all_heard_and_twelve_of_them_seen() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("call.mkv").to_string_lossy().into_owned();
    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    let mut bridge = Roomcast::start(["bridge", &room, "--size", "640x360", "--fps", "15", "-o", &file]);
    let joined = time_of(&bridge.wait_event("joined", PATIENCE).await);
    let (first, second) = (Caller::join(&base, "demo", TINY).await, Caller::join(&base, "demo", TINY).await);

    // They call nobody, or two hundred calls among themselves would hide what is looked at here.
    let quiet = format!("{room}&call=none");
    let began = Instant::now();
    let crowd: Vec<_> =
        (0..STORM).map(|_| Roomcast::start(["publish", &quiet, "--size", "160x90", "--fps", "5"])).collect();
    assert!(began.elapsed() < Duration::from_secs(1), "the storm took {:?}", began.elapsed());

    let (mut heard, mut seen) = (BTreeSet::new(), BTreeSet::new());
    while heard.len() < STORM + 2 || seen.len() < STORM + 2 {
        let event = bridge.wait_event("track_started", PATIENCE).await;
        let of_kind = if event["kind"] == "audio" { &mut heard } else { &mut seen };
        of_kind.insert(event["participant"].as_str().unwrap().to_owned());
    }
    // One second of everybody.
    let all = jiff::Timestamp::now().duration_since(joined) + jiff::SignedDuration::from_secs(2);
    loop {
        let stats = bridge.wait_event("stats", PATIENCE).await;
        assert!(began.elapsed() < PATIENCE, "not everybody is seen: {stats:#}\n{}", bridge.log());
        let participants = stats["participants"].as_array().unwrap();
        let flowing = |person: &&serde_json::Value| person["connected"] == true && person["fps"].as_f64() > Some(0.0);
        if participants.iter().filter(flowing).count() == STORM + 2 {
            break;
        }
    }
    let wall = jiff::Timestamp::now().duration_since(joined).as_secs_f64();
    assert!(bridge.terminate(PATIENCE).await.success(), "{}", bridge.log());
    drop((first, second, crowd));

    assert_whole(&file, wall, &bridge).await;
    let at = Duration::try_from(all).unwrap().min(Duration::from_secs_f64(wall - 0.5));
    let picture = picture_at(&file, at, CANVAS).await;
    // Four columns and three rows: somebody stands in each, and nowhere is a thirteenth.
    let (width, height) = (CANVAS.0 / 4, CANVAS.1 / 3);
    for cell in 0..12 {
        let (left, top) = (cell % 4 * width + width / 4, cell / 4 * height + height / 4);
        let rows = (top..top + height / 2).flat_map(|y| &picture[y * CANVAS.0 + left..][..width / 2]);
        let mean = rows.map(|luma| f64::from(*luma)).sum::<f64>() / (width / 2 * (height / 2)) as f64;
        assert!(mean > DARK, "nobody stands in cell {cell}: {mean}");
    }
}
