//! WHIP and WHEP as their clients see them: real browsers that publish into a room and watch it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::{
    AiortcPublisher, Browser, BrowserOptions, Caller, FlashAndBeep, Roomcast, assert_decodes, assert_flawless,
    flash_and_beep_js, one_at_a_time,
};

const SOON: Duration = Duration::from_secs(30);
/// No STUN: everything is on loopback.
const NO_ICE_SERVERS: &str = r#"{"iceServers":[]}"#;

fn serve_args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    ["--no-bridges", "--rtc-config", NO_ICE_SERVERS].into_iter().chain(more.iter().copied()).collect()
}

fn room_url(base: &str) -> String {
    format!("{}/ws?room=r", base.replace("http", "mesh+ws"))
}

/// A page with `whip()` and `whep()`, and a camera that flashes and beeps.
async fn page(base: &str) -> Browser {
    page_with(base, FlashAndBeep { width: 320, height: 180, fps: 15, ..FlashAndBeep::default() }).await
}

async fn page_with(base: &str, camera: FlashAndBeep) -> Browser {
    let camera = flash_and_beep_js(camera);
    let before_load = format!("{camera}\n{}", include_str!("support/whip.js"));
    let page = Browser::start_with(BrowserOptions { before_load, ..BrowserOptions::default() }).await;
    page.goto(&format!("{base}/healthz")).await;
    page
}

fn http() -> reqwest::Client {
    // Another test of this binary may have chosen it before.
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::new()
}

async fn members(base: &str) -> Vec<String> {
    let rooms = http().get(format!("{base}/api/v1/rooms")).send().await.unwrap();
    let rooms: Value = rooms.json().await.unwrap();
    let members = rooms["rooms"].as_array().into_iter().flatten().flat_map(|room| room["members"].as_array().cloned());
    members.flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_publishes_by_whip_and_a_bridge_records_it() {
    let _turn = one_at_a_time().await;
    let (server, base) = Roomcast::serve(&serve_args(&["--whip-token", "s3cret"])).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("call.mkv").to_string_lossy().into_owned();
    let mut bridge = Roomcast::start(["bridge", &room_url(&base), "-o", &file, "--size", "320x180"]);
    bridge.wait_event("joined", SOON).await;

    let page = page(&base).await;
    let refused = page.eval("whip('/whip/r', { token: 'wrong' }).then(() => 'let in', (error) => error.message)").await;
    assert!(refused.as_str().unwrap_or_default().starts_with("401 "), "{refused}");
    page.eval(
        "whip('/whip/r?participant=camera', { token: 's3cret', codec: 'vp8' }).then((made) => { window.session = made; return 1; })",
    )
    .await;
    let joined = bridge.wait_event("participant_joined", SOON).await;
    assert_eq!(joined["participant"], "whip-camera");
    for _ in ["audio", "video"] {
        bridge.wait_event("track_started", SOON).await;
    }
    bridge.wait_event("output_ready", SOON).await;
    assert!(page.eval("session.patches.length > 0 && session.patches.every((status) => status === 204)").await == true);

    // A new path in the middle of the call: nothing of it is heard or seen.
    page.eval("session.restart()").await;
    page.wait_for(
        "session.pc.iceConnectionState === 'connected' || session.pc.iceConnectionState === 'completed'",
        SOON,
    )
    .await;
    let sent = "session.pc.getStats().then((stats) => [...stats.values()].find((one) => one.type === 'outbound-rtp' && one.kind === 'video').framesSent)";
    let before = page.eval(sent).await.as_u64().unwrap();
    page.wait_for(&format!("(await {sent}) > {before} + 90"), SOON).await;

    // The same publisher on a new connection, as after a crash: the room sees the same streams go on.
    let again = "(async () => {
        session.pc.close();
        window.lost = session.location;
        window.session = await whip('/whip/r?participant=camera', { token: 's3cret', trickle: false });
        return session.location !== lost;
    })()";
    assert_eq!(page.eval(again).await, true);
    let gone =
        "fetch(lost, { method: 'DELETE', headers: { Authorization: 'Bearer s3cret' } }).then(({ status }) => status)";
    assert_eq!(page.eval(gone).await, 404, "the session of before is over");
    page.wait_for(&format!("(await {sent}) > 60"), SOON).await;
    assert_eq!(page.eval("session.stop()").await, 200);
    bridge.wait_event("participant_left", SOON).await;
    let joined = bridge.events().iter().filter(|event| event["event"] == "participant_joined").count();
    assert_eq!(joined, 1, "{:#?}", bridge.events());
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    assert_eq!(members(&base).await, Vec::<String>::new());
    assert!(!server.log().contains("s3cret"));
    assert_flawless(&file, &bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_simulcast_the_best_layer_that_flows_is_taken() {
    let _turn = one_at_a_time().await;
    let (server, base) = Roomcast::serve(&serve_args(&[])).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("call.mkv").to_string_lossy().into_owned();
    // Chromium sends smaller pictures in fewer layers.
    let page = page_with(&base, FlashAndBeep { width: 1280, height: 720, fps: 15, ..FlashAndBeep::default() }).await;
    page.eval(
        "whip('/whip/r', { codec: 'vp8', simulcast: true }).then((made) => { window.session = made; return 1; })",
    )
    .await;
    let mut bridge = Roomcast::start(["bridge", &room_url(&base), "-o", &file, "--size", "320x180"]);
    bridge.wait_event("output_ready", SOON).await;
    page.eval("whep('/whep/r').then((made) => { window.viewer = made; return 1; })").await;
    let width = async |expected: u32| {
        let shows =
            format!("viewer.inbound().then(({{ width }}) => {{ window.seen = width; return width === {expected}; }})");
        page.wait_for(&shows, SOON).await;
    };
    let switch = async |active: bool| {
        let set = format!(
            "(async () => {{
                const sender = session.pc.getSenders().find(({{ track }}) => track.kind === 'video');
                const parameters = sender.getParameters();
                parameters.encodings[2].active = {active};
                await sender.setParameters(parameters);
                return parameters.encodings.length;
            }})()"
        );
        assert_eq!(page.eval(&set).await, 3);
    };
    width(1280).await;
    switch(false).await;
    width(640).await;
    switch(true).await;
    width(1280).await;
    let frames = page.eval("viewer.inbound()").await["frames"].as_u64().unwrap();
    page.wait_for(&format!("viewer.inbound().then(({{ frames }}) => frames > {frames} + 30)"), SOON).await;
    assert_eq!(page.eval("viewer.stop()").await, 200, "{}", server.log());
    assert_eq!(page.eval("session.stop()").await, 200);
    bridge.wait_event("participant_left", SOON).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    assert_decodes(&file, 3.0).await;
}

/// aiortc gathers before it offers and never trickles, as OBS does.
#[tokio::test(flavor = "multi_thread")]
async fn aiortc_publishes_by_whip_and_a_bridge_records_it() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&serve_args(&["--whip-token", "s3cret"])).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("call.mkv").to_string_lossy().into_owned();
    let mut publisher = AiortcPublisher::start(&format!("{base}/whip/r"), "s3cret").await;
    let mut bridge = Roomcast::start(["bridge", &room_url(&base), "-o", &file, "--size", "320x180"]);
    for _ in ["audio", "video"] {
        bridge.wait_event("track_started", SOON).await;
    }
    loop {
        let stats = bridge.wait_event("stats", SOON).await;
        if stats["participants"][0]["fps"].as_f64() >= Some(5.0) {
            break;
        }
    }
    assert_eq!(publisher.stop().await, "200");
    bridge.wait_event("participant_left", SOON).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    assert_decodes(&file, 3.0).await;
    assert_eq!(members(&base).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_watches_by_whep_in_the_codec_that_is_sent() {
    let _turn = one_at_a_time().await;
    let (server, base) = Roomcast::serve(&serve_args(&[])).await;
    let page = page(&base).await;
    let nobody = page.eval("whep('/whep/r').then(() => 'let in', (error) => error.message)").await;
    assert!(nobody.as_str().unwrap_or_default().starts_with("409 "), "{nobody}");
    for codec in ["vp8", "h264"] {
        let args = ["publish", &room_url(&base), "--size", "320x180", "--fps", "15", "--name", codec, "--codec", codec];
        let mut person = Roomcast::start(args);
        person.wait_event("joined", SOON).await;
        let open =
            format!("whep('/whep/r?participant={codec}').then((made) => {{ window.session = made; return 1; }})");
        page.eval(&open).await;
        page.wait_for("session.inbound().then(({ frames, loud }) => frames >= 60 && loud > 0)", SOON).await;
        let seen = page.eval("session.inbound()").await;
        assert_eq!(seen["codec"].as_str().unwrap_or_default().to_lowercase(), format!("video/{codec}"), "{seen}");
        assert_eq!(seen["width"], 320, "{seen}");
        assert_eq!(page.eval("session.stop()").await, 200, "{}", server.log());
        assert!(person.terminate(SOON).await.success(), "{}", person.log());
    }
    assert_eq!(members(&base).await, Vec::<String>::new(), "nobody is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_records_a_whep_stream_and_waits_for_one_that_pauses() {
    let _turn = one_at_a_time().await;
    let (mut server, base) = Roomcast::serve(&serve_args(&["--whip-token", "s3cret"])).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("call.mkv").to_string_lossy().into_owned();
    let stream = format!("{}/whep/r?token=s3cret", base.replace("http", "whep+http"));
    let mut bridge = Roomcast::start(["bridge", &stream, "-o", &file, "--size", "320x180"]);
    bridge.wait_event("joined", SOON).await;
    // Nobody is there yet: asked for again until somebody is.
    bridge.wait_event("reconnecting", SOON).await;

    let room = room_url(&base);
    let publish = ["publish", &room, "--size", "320x180", "--fps", "15"];
    let mut person = Roomcast::start(publish);
    for _ in ["audio", "video"] {
        bridge.wait_event("track_started", SOON).await;
    }
    bridge.wait_event("output_ready", SOON).await;
    // Somebody else takes the place within the same session.
    assert!(person.terminate(SOON).await.success(), "{}", person.log());
    bridge.wait_event("track_stalled", SOON).await;
    let mut next = Roomcast::start(publish);
    bridge.wait_event("track_resumed", SOON).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    assert!(next.terminate(SOON).await.success(), "{}", next.log());
    assert_eq!(members(&base).await, Vec::<String>::new(), "nobody is left behind");
    assert!(!format!("{}{:?}", bridge.log(), bridge.events()).contains("s3cret"));
    assert_flawless(&file, &bridge).await;
    assert!(server.terminate(SOON).await.success(), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_and_hear_publishers() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&serve_args(&[])).await;
    let camera = FlashAndBeep { width: 320, height: 180, fps: 15, ..FlashAndBeep::default() };
    let caller = Caller::join(&base, "r", camera).await;
    let page = page(&base).await;
    page.eval("whip('/whip/r?participant=camera').then((made) => { window.session = made; return 1; })").await;
    page.eval("whip('/whip/r?participant=radio', { video: false }).then((made) => { window.radio = made; return 1; })")
        .await;
    // First they call the page; after its reload the page calls them.
    for reloaded in [false, true] {
        if reloaded {
            caller.page.reload().await;
            caller.enter().await;
        }
        for (id, kind, count) in [
            ("whip-camera", "video", "framesDecoded"),
            ("whip-camera", "audio", "packetsReceived"),
            ("whip-radio", "audio", "packetsReceived"),
        ] {
            let stats = format!("[...(await state.peers.get('{id}').pc.getStats()).values()]");
            let inbound = format!("{stats}.find((one) => one.type === 'inbound-rtp' && one.kind === '{kind}')");
            caller.until(&format!("(async () => {inbound}.{count} > 30)()")).await;
        }
    }
    assert_eq!(page.eval("radio.stop()").await, 200);
    caller.until("!state.members.includes('whip-radio')").await;
    assert_eq!(page.eval("session.stop()").await, 200);
}
