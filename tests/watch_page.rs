//! The watch page in a real browser: waits for a call, plays it, and the call page says that it is on air.

mod support;

use std::time::Duration;

use support::{Browser, BrowserOptions, FlashAndBeep, Roomcast, flash_and_beep_js, one_at_a_time};

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_waits_for_the_call_and_then_sees_it_without_a_drop() {
    let _turn = one_at_a_time().await;
    let (server, base) = Roomcast::serve(&["--size", "640x360"]).await;
    let source = FlashAndBeep { width: 320, height: 180, fps: 15, ..FlashAndBeep::default() };
    let options = BrowserOptions { before_load: flash_and_beep_js(source), ..BrowserOptions::default() };
    let (viewer, caller) = tokio::join!(Browser::start(), Browser::start_with(options));

    viewer.goto(&format!("{base}/watch/demo")).await;
    let empty = "document.getElementById('status').textContent === 'Nobody is in the room yet.'";
    viewer.wait_for(empty, Duration::from_secs(10)).await;

    caller.goto(&format!("{base}/?room=demo")).await;
    caller.eval("connect('demo').then(() => true)").await;
    let live = "window.__watch.state === 'live' && __watch.stats.frames > 0";
    viewer.wait_for(live, Duration::from_secs(40)).await;
    let on_air = "!document.getElementById('on-air').hidden && document.querySelectorAll('.tile').length === 1";
    caller.wait_for(on_air, Duration::from_secs(5)).await;

    viewer.eval("(window.__from = { ...__watch.stats })").await;
    viewer.wait_for("__watch.stats.time > __from.time + 10", Duration::from_secs(20)).await;
    let stats = viewer.eval("__watch.stats").await;
    let errors = viewer.eval("__watch.errors").await;
    let context = || format!("{stats} {errors}\n{}", server.log());
    for fault in ["errors", "stalls"] {
        let during = viewer.eval(&format!("__watch.stats.{fault} - __from.{fault}")).await;
        assert_eq!(during, 0, "{fault}: {}", context());
    }
    // Every picture of these seconds arrived. How many of them the browser then skips says how busy this machine is; a
    // stream whose pictures came at wrong times would lose a good part of them.
    let seconds = viewer.eval("__watch.stats.time - __from.time").await.as_f64().unwrap_or(f64::NAN);
    let frames = viewer.eval("__watch.stats.frames - __from.frames").await.as_f64().unwrap_or(f64::NAN);
    assert!((frames - 30.0 * seconds).abs() <= 30.0, "{frames} pictures in {seconds} s: {}", context());
    let dropped = viewer.eval("__watch.stats.dropped - __from.dropped").await.as_f64().unwrap_or(f64::NAN);
    eprintln!("{dropped} of {frames} pictures were skipped by the browser");
    assert!(dropped < 0.2 * frames, "{dropped} of {frames} dropped: {}", context());
    assert!(stats["latency"].as_f64().is_some_and(|seconds| (0.5..12.0).contains(&seconds)), "{}", context());
    assert_eq!([&stats["width"], &stats["height"]], [640, 360], "{}", context());
}
