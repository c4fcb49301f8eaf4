//! Lips and voice stay together from the first picture of a recording on, whatever way each of them takes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]
#![allow(clippy::print_stderr, reason = "what was measured belongs to the output of a test")]

mod support;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::{BadWire, Browser, BrowserOptions, FlashAndBeep, Roomcast, beeps, flash_and_beep_js, flashes};
use support::{one_at_a_time, probe, skews};

const SOON: Duration = Duration::from_secs(30);
const LENGTH: Duration = Duration::from_secs(8);
/// How far sound and picture may be apart, in milliseconds, in the median and at worst.
const MEDIAN: f64 = 40.0;
const WORST: f64 = 80.0;
/// Whoever gets no processor makes its sound and its pictures at the wrong time, or not at all.
const TRIES: usize = 3;

/// Says how flashes and beeps of a file do not fall together. What is mixed stumbles on a busy machine, and so does a browser: they are
/// judged by the median.
async fn faults(what: &str, file: &Path, worst: f64, least: usize) -> Vec<String> {
    let (flashes, beeps) = (flashes(file, "iw:ih:0:0").await, beeps(file).await);
    let all = skews(&flashes, &beeps);
    eprintln!("{what}: sound after picture {all:.0?} ms, flashes {flashes:.3?}");
    let mut sorted = all.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::INFINITY);
    let furthest = all.iter().fold(0.0_f64, |furthest, skew| furthest.max(skew.abs()));
    let wrong = all.len() < least || median.abs() > MEDIAN || furthest > worst;
    wrong.then(|| format!("{what}: {all:.0?} ms, flashes {flashes:.3?}, beeps {beeps:.3?}")).into_iter().collect()
}

/// Asserts that what came before the reports was not left out.
fn assert_whole(what: &str, report: &Value, least: f64) {
    for stream in report["streams"].as_array().unwrap() {
        assert!(stream["duration"].as_f64().unwrap() >= least, "{what}: shorter than {least} s: {report:#}");
        assert_eq!((&stream["regressions"], &stream["decode_errors"]), (&0.into(), &0.into()), "{what}: {report:#}");
    }
}

/// Records a participant from the beginning, one of whose media takes 150 ms longer: the mix, and what came as it came.
async fn record(late: &str, payload_type: u8) -> Vec<String> {
    let wire = BadWire::new(&format!("delay=5 type={payload_type} type_delay=150")).await;
    let mut server = wire.right.roomcast(["serve", "--listen", "10.9.0.2:8080", "--no-bridges"]);
    server.wait_event("listening", SOON).await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let room = "mesh+ws://10.9.0.2:8080/ws?room=r";
    let (copied, of_room) = (path("{participant}.mkv"), format!("{}?video=copy&audio=copy", path("relayed.mkv")));
    let (mix, size) = (path("mix.mkv"), ["--size", "320x180", "--fps", "30"]);
    let mut bridge =
        wire.right.roomcast(["bridge", room, "-o", &copied, "-o", &of_room, "-o", &mix].iter().chain(&size));
    bridge.wait_event("joined", SOON).await;
    let person = wire.left.roomcast(["publish", room, "--name", "test"].iter().chain(&size));
    bridge.wait_sound_and_picture(SOON).await;
    tokio::time::sleep(LENGTH).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    drop((person, server));
    let mut wrong = faults(&format!("{late} later, mixed"), mix.as_ref(), f64::INFINITY, 4).await;
    for (copy, how) in [("test.mkv", "copied"), ("relayed.mkv", "copied from the room")] {
        let what = format!("{late} later, {how}");
        let file = path(copy);
        wrong.extend(faults(&what, file.as_ref(), WORST, 4).await);
        assert_whole(&what, &probe(&file, &[]).await, LENGTH.as_secs_f64() - 0.7);
    }
    wire.end().await;
    wrong
}

/// Seen to fail with the lip sync of `rtpbin`, which believes the first report of either stream: 319, -209 and 73 ms in the first seconds.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_seconds_of_a_recording_are_in_step_although_one_way_is_longer() {
    let _turn = one_at_a_time().await;
    for (late, payload_type) in [("sound", 111), ("pictures", 96)] {
        assert_once(async || record(late, payload_type).await).await;
    }
}

/// Asserts that it is without fault in one of some tries.
async fn assert_once(record: impl AsyncFn() -> Vec<String>) {
    let mut wrong = Vec::new();
    for _ in 0..TRIES {
        wrong = record().await;
        if wrong.is_empty() {
            return;
        }
    }
    panic!("{}", wrong.join("\n"));
}

/// Records a browser with the call page.
async fn record_browser() -> Vec<String> {
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=r", base.replace("http", "mesh+ws"));
    let directory = tempfile::tempdir().unwrap();
    let pattern = format!("{}/{{participant}}.mkv", directory.path().display());
    let mut bridge = Roomcast::start(["bridge", &room, "-o", &pattern]);
    bridge.wait_event("joined", SOON).await;
    let before_load = flash_and_beep_js(FlashAndBeep { width: 320, height: 180, ..FlashAndBeep::default() });
    let page = Browser::start_with(BrowserOptions { before_load, ..BrowserOptions::default() }).await;
    page.goto(&format!("{base}/?room=r")).await;
    page.eval("connect('r').then(() => true)").await;
    bridge.wait_sound_and_picture(SOON).await;
    tokio::time::sleep(LENGTH).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    drop(page);
    let file = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let file = file.filter(|file| file.extension().is_some_and(|ending| ending == "mkv")).max().unwrap();
    assert_whole("a browser", &probe(file.to_str().unwrap(), &[]).await, LENGTH.as_secs_f64() - 0.7);
    faults("a browser", &file, f64::INFINITY, 4).await
}

/// Its recording loses nothing while it waits for the first report of sound, which comes after 2.5 s.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_sends_is_in_step_and_whole_from_the_first_second_of_its_recording() {
    let _turn = one_at_a_time().await;
    assert_once(record_browser).await;
}
