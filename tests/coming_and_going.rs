//! People come, go, mute, switch their cameras off, change their pictures' size and reload; no output has a gap.

mod support;

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::{Caller, FlashAndBeep, Roomcast, Scene, assert_whole, one_at_a_time, picture_at};

const SOON: Duration = Duration::from_secs(30);
/// Several of these are encoded and decoded on whatever runs the tests.
const SMALL: FlashAndBeep = FlashAndBeep { width: 320, height: 180, fps: 15, camera: true, microphone: true };
/// The canvas; pictures are read back in grey at this size. Smaller than what is sent: what this test is about does not
/// depend on it, and whatever runs the tests encodes it beside three browsers.
const CANVAS: (usize, usize) = (640, 360);
/// In full range: an empty canvas is at 0, the darkest part of the test picture at 12 or more.
const DARK: f64 = 5.0;

/// Waits for the first packet of somebody's video.
async fn video_of(bridge: &mut Roomcast, id: &str) {
    loop {
        let event = bridge.wait_event("track_started", SOON).await;
        if event["participant"] == id && event["kind"] == "video" {
            return;
        }
    }
}

/// Mean luma of a part of a grey picture, given as fractions of the canvas.
fn mean(picture: &[u8], (left, right): (f64, f64), (top, bottom): (f64, f64)) -> f64 {
    let column = |part: f64| (part * CANVAS.0 as f64) as usize;
    let row = |part: f64| (part * CANVAS.1 as f64) as usize;
    let rows = row(top)..row(bottom);
    let samples: Vec<_> = rows.flat_map(|y| &picture[y * CANVAS.0..][column(left)..column(right)]).collect();
    samples.iter().map(|sample| f64::from(**sample)).sum::<f64>() / samples.len() as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_changes_all_the_time_leaves_no_gap_in_any_output() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    let (mkv, mp4, hls) = (path("call.mkv"), path("call.mp4"), format!("hls:{}?list=1000", path("www")));
    let size = format!("{}x{}", CANVAS.0, CANVAS.1);
    let mut bridge = Roomcast::start(["bridge", &room, "--size", &size, "-o", &mkv, "-o", &mp4, "-o", &hls]);
    bridge.wait_event("joined", SOON).await;
    let began = Instant::now();

    let ada = Caller::join(&base, "demo", FlashAndBeep { width: 640, height: 360, ..SMALL }).await;
    video_of(&mut bridge, &ada.id().await).await;
    let ben = Caller::join(&base, "demo", SMALL).await;
    video_of(&mut bridge, &ben.id().await).await;
    ada.until("[...state.peers.values()].filter((peer) => peer.status === 'connected').length >= 2").await;

    // Two people stand side by side, each in the middle of a half.
    let both = began.elapsed() + Duration::from_secs(1);
    tokio::time::sleep_until((began + both + Duration::from_secs(2)).into()).await;
    let picture = picture_at(&mkv, both, CANVAS).await;
    for half in [(0.1, 0.4), (0.6, 0.9)] {
        let luma = mean(&picture, half, (0.4, 0.6));
        assert!(luma > DARK, "nobody stands in {half:?}: {luma}");
    }
    assert!(mean(&picture, (0.0, 1.0), (0.0, 0.1)) < DARK, "there is nothing above them");

    let cleo = Caller::join(&base, "demo", SMALL).await;
    video_of(&mut bridge, &cleo.id().await).await;
    let gone = cleo.id().await;
    cleo.page.close().await;
    assert_eq!(bridge.wait_event("participant_left", SOON).await["participant"], gone.as_str());

    ben.click("mute").await;
    ada.click("camera").await;
    let camera_off = Instant::now();
    ada.until("state.cameraOff").await;
    ben.page.reload().await;
    ben.enter().await;
    video_of(&mut bridge, &ben.id().await).await;
    tokio::time::sleep_until((camera_off + Duration::from_secs(10)).into()).await;
    ada.click("camera").await;
    ada.until("!state.cameraOff").await;
    ada.page.eval("__capture.resize(1280, 720)").await;
    ben.page.close().await;
    bridge.wait_event("participant_left", SOON).await;
    bridge.wait_event("participant_left", SOON).await;

    // Whoever is alone fills the canvas.
    let alone = began.elapsed() + Duration::from_secs(2);
    tokio::time::sleep_until((began + alone + Duration::from_secs(2)).into()).await;
    let picture = picture_at(&mkv, alone, CANVAS).await;
    for corner in [((0.02, 0.1), (0.02, 0.1)), ((0.9, 0.98), (0.9, 0.98))] {
        let luma = mean(&picture, corner.0, corner.1);
        assert!(luma > DARK, "the corner {corner:?} is empty: {luma}");
    }

    let wall = began.elapsed().as_secs_f64();
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    for source in [&mkv, &mp4, &path("www/index.m3u8")] {
        assert_whole(source, wall, &bridge).await;
    }
}

/// The room lists somebody who is stopped for as long as the connection to the server stands.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_vanishes_without_a_word_is_given_up_and_called_again() {
    let scene = Scene::start().await;
    let (mut bridge, _) = scene.bridge(&[&scene.path("call.mkv")], &[]).await;
    bridge.wait_sound_and_picture(SOON).await;
    let publisher = Pid::from_raw(i32::try_from(scene.publisher.id()).unwrap()).unwrap();
    kill_process(publisher, Signal::STOP).unwrap();
    for _ in 0..2 {
        bridge.wait_event("track_stalled", SOON).await;
    }
    let left = bridge.wait_event("participant_left", Duration::from_secs(45)).await;
    assert_eq!((&left["participant"], &left["reason"]), (&"publisher".into(), &"cannot be reached".into()));
    let searches = bridge.events().iter().filter(|event| event["event"] == "reconnecting").count();
    assert!((1..=4).contains(&searches), "{:#?}", bridge.events());

    kill_process(publisher, Signal::CONT).unwrap();
    bridge.wait_event("participant_joined", SOON).await;
    bridge.wait_event("participant_joined", SOON).await;
    bridge.wait_sound_and_picture(SOON).await;
    bridge.wait_pictures(SOON).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
}
