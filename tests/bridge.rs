//! The main job: people on the call page, and everything that is not a browser plays and records them.

mod support;

use std::time::Duration;

use roomcast::server::{self, ServerConfig};
use support::{Browser, BrowserOptions, FlashAndBeep, Roomcast, flash_and_beep_js, one_at_a_time, read_with_ffmpeg};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn trial() {
    let _turn = one_at_a_time().await;
    let cancel = CancellationToken::new();
    let mut config = ServerConfig::default();
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.rtc_config = server::RtcConfig::without_servers();
    let server = server::serve(config, cancel.clone()).await.unwrap();
    let base = server.base_url().to_owned();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let port = support::even_rtp_ports(1);

    let source = FlashAndBeep { width: 640, height: 360, fps: 30, camera: true, microphone: true };
    let page =
        Browser::start_with(BrowserOptions { before_load: flash_and_beep_js(source), ..Default::default() }).await;
    page.goto(&format!("{base}/?room=demo")).await;
    page.wait_for("typeof connect === 'function'", SOON).await;
    page.eval("document.getElementById('join').click()").await;
    page.wait_for("['joined', 'calling'].includes(state.roomState)", SOON).await;

    let url = format!("mesh+ws://{}/ws?room=demo", server.addr());
    let rtp = format!("rtp://127.0.0.1:{port}?sdp={}", path("call.sdp"));
    let hls = format!("hls:{}", path("www"));
    let (mkv, mp4) = (path("call.mkv"), path("call.mp4"));
    let mut bridge =
        Roomcast::start(["bridge", &url, "-o", &rtp, "-o", &hls, "-o", &mkv, "-o", &mp4, "--bind", "127.0.0.1"]);
    bridge.wait_event("joined", SOON).await;
    bridge.wait_event("track_started", SOON).await;
    for _ in 0..4 {
        let ready = bridge.wait_event("output_ready", SOON).await;
        println!("{ready}");
    }
    let reading =
        read_with_ffmpeg(&["-protocol_whitelist", "file,rtp,udp", &path("call.sdp")], Duration::from_secs(10)).await;
    println!("{reading:?}");
    page.screenshot(std::path::Path::new("/tmp/t/page.png")).await;
    let status = bridge.terminate(SOON).await;
    println!("{status:?}");
    for event in bridge.events() {
        println!("{event}");
    }
    println!("{}", bridge.log());
    std::process::Command::new("cp").args(["-r", dir.path().to_str().unwrap(), "/tmp/t/out"]).status().unwrap();
    page.close().await;
    cancel.cancel();
}
