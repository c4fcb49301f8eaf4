//! HLS in all its forms, read by ffmpeg and by hls.js in a real browser.

#![allow(clippy::unwrap_used, reason = "a test that fails here has failed")]

mod support;

use std::time::Duration;

use support::{Roomcast, one_at_a_time};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn experiment() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    let mut bridge = Roomcast::start(["bridge", &room, "--size", "640x360", "-o", &std::env::var("HLS").unwrap()]);
    let _person = Roomcast::start(["publish", &room, "--size", "320x180", "--fps", "15"]);
    bridge.wait_event("output_ready", SOON).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    bridge.terminate(SOON).await;
    println!("{}", bridge.log());
}
