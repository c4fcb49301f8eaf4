//! The call page in real browsers, against `roomcast serve`.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Browser, BrowserOptions, FlashAndBeep, Roomcast, flash_and_beep_js, free_tcp_port, one_at_a_time};

/// Long enough for a busy machine, short enough to notice a call that never comes about.
const SOON: Duration = Duration::from_secs(15);

/// A small picture: six streams are encoded and decoded at once on whatever runs the tests.
const SMALL: FlashAndBeep = FlashAndBeep { width: 320, height: 180, fps: 15, camera: true, microphone: true };

/// What arrives from one peer, or from all; and what its picture looks like.
const MEASURE: &str = r#"
window.__received = async (id) => {
  const sum = { frames: 0, energy: 0, width: 0 };
  for (const peer of state.peers.values()) {
    if (id && peer.id !== id) continue;
    for (const report of (await peer.pc.getStats()).values()) {
      if (report.type !== "inbound-rtp") continue;
      if (report.kind === "video") { sum.frames += report.framesDecoded ?? 0; sum.width = report.frameWidth ?? 0; }
      else sum.energy += report.totalAudioEnergy ?? 0;
    }
  }
  return sum;
};
window.__energyDuring = async (ms) => {
  const before = (await __received()).energy;
  await new Promise((resolve) => setTimeout(resolve, ms));
  return (await __received()).energy - before;
};
window.__brightness = () => {
  const video = document.querySelector(`.tile:not([data-id="${state.myId}"]) video`);
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 36 });
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0, 64, 36);
  const { data } = context.getImageData(0, 0, 64, 36);
  let brightest = 0;
  for (let i = 0; i < data.length; i += 4) brightest = Math.max(brightest, data[i + 1]);
  return brightest;
};
window.__others = () => [...document.querySelectorAll(".tile")].filter((tile) => tile.dataset.id !== state.myId);
window.__connected = () => [...state.peers.values()].filter((peer) => peer.status === "connected").length;
"#;

/// One person: a browser on the call page.
struct Person {
    page: Browser,
}

impl Person {
    async fn start(source: FlashAndBeep) -> Self {
        let before_load = flash_and_beep_js(source) + MEASURE;
        Self { page: Browser::start_with(BrowserOptions { before_load, ..BrowserOptions::default() }).await }
    }

    /// Joins as a person does: through the card.
    async fn join(&self, base: &str, room: &str, name: &str) {
        self.page.goto(&format!("{base}/?room={room}")).await;
        self.page.wait_for("typeof connect === 'function'", SOON).await;
        let fill = format!(
            "(document.getElementById('name').value = {}, document.getElementById('join').click())",
            json!(name)
        );
        self.page.eval(&fill).await;
        self.until("['joined', 'calling'].includes(state.roomState)").await;
    }

    async fn until(&self, condition: &str) -> Value {
        self.page.wait_for(condition, SOON).await
    }

    async fn sees_and_hears(&self, others: usize) {
        self.until(&format!("__connected() === {others}")).await;
        self.until(
            "(async () => { for (const id of state.peers.keys()) { const got = await __received(id);
               if (got.frames < 10 || got.energy === 0) return false; } return true; })()",
        )
        .await;
    }

    async fn click(&self, act: &str) {
        self.page.eval(&format!("document.querySelector('.bar [data-act=\"{act}\"]').click()")).await;
    }

    async fn id(&self) -> String {
        self.page.eval("state.myId").await.as_str().unwrap_or_default().to_owned()
    }

    /// No error in the console: a rejected promise, a file that is missing, something that the CSP refused.
    async fn said_nothing_bad(&self) {
        let severe: Vec<_> = self.page.console().await.into_iter().filter(|line| line.contains("SEVERE")).collect();
        assert!(severe.is_empty(), "{severe:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_hear_and_write_to_each_other_until_they_leave() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&[]).await;
    let (ada, ben, cleo) = tokio::join!(Person::start(SMALL), Person::start(SMALL), Person::start(SMALL));

    ada.join(&base, "demo", "Ada").await;
    ben.join(&base, "demo", "Ben").await;
    tokio::join!(ada.sees_and_hears(1), ben.sees_and_hears(1));

    cleo.join(&base, "demo", "Cléo").await;
    tokio::join!(ada.sees_and_hears(2), ben.sees_and_hears(2), cleo.sees_and_hears(2));

    cleo.until("state.peers.size === 2 && [...state.peers.values()].every((peer) => peer.dc?.readyState === 'open')")
        .await;
    assert_eq!(cleo.page.eval("sendChat('good <b>morning</b>')").await, 2);
    for reader in [&ada, &ben] {
        let line = reader.until("document.querySelector('#chat-log .chat-body')?.textContent").await;
        assert_eq!(line, "good <b>morning</b>");
        let head = reader.page.eval("document.querySelector('#chat-log .chat-head').textContent").await;
        assert!(head.as_str().is_some_and(|head| head.starts_with("Cléo")), "{head}");
        reader.until("document.getElementById('unread').textContent === '1'").await;
    }

    cleo.click("leave").await;
    cleo.until("!document.getElementById('lobby').hidden && state.localStream === null").await;
    for stayed in [&ada, &ben] {
        stayed.until("__others().length === 1 && state.peers.size === 1").await;
        stayed.said_nothing_bad().await;
    }
    // A tab that is closed is gone at once as well.
    ben.page.close().await;
    ada.until("__others().length === 0 && document.getElementById('status').textContent === 'Nobody else is here yet'")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mute_camera_and_screen_reach_the_other_side() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&[]).await;
    let (ada, ben) = tokio::join!(Person::start(SMALL), Person::start(SMALL));
    ada.join(&base, "demo", "Ada").await;
    ben.join(&base, "demo", "Ben").await;
    tokio::join!(ada.sees_and_hears(1), ben.sees_and_hears(1));

    ben.click("mute").await;
    ada.until("__others()[0].dataset.muted === 'true'").await;
    ada.until("__energyDuring(1200).then((energy) => energy < 1e-4)").await;
    ben.click("mute").await;
    ada.until("__others()[0].dataset.muted === 'false' && __energyDuring(1200).then((energy) => energy > 1e-3)").await;

    assert!(ada.until("__brightness() > 60 && __brightness()").await.as_u64() > Some(60));
    ben.page.eval("window.__track = state.localStream.getVideoTracks()[0]").await;
    ben.click("camera").await;
    ben.until("state.cameraOff && __track.readyState === 'ended'").await;
    ada.until("__others()[0].dataset.cameraOff === 'true' && __brightness() < 30").await;
    // Black frames keep the stream alive for whoever records it.
    let before = ada.page.eval("__received().then((got) => got.frames)").await;
    ada.until(&format!("__received().then((got) => got.frames > {before})")).await;
    ben.click("camera").await;
    ada.until("__others()[0].dataset.cameraOff === 'false' && __brightness() > 60").await;

    ben.click("screen").await;
    ada.until("__others()[0].classList.contains('screen') && __received().then((got) => got.width > 320)").await;
    assert_eq!(ben.page.eval("state.usingScreen").await, true);
    ben.click("screen").await;
    ada.until("!__others()[0].classList.contains('screen') && __received().then((got) => got.width === 320)").await;

    ben.click("record").await;
    ben.until(
        "state.recordedChunks.length > 0 && state.recordedChunks.reduce((sum, chunk) => sum + chunk.size, 0) > 5000",
    )
    .await;
    ben.page.eval("(HTMLAnchorElement.prototype.click = function () { window.__download = this.download; })").await;
    ben.click("record").await;
    let name = ben.until("window.__download").await;
    assert!(name.as_str().is_some_and(|name| name.starts_with("demo-") && name.ends_with(".webm")), "{name}");

    ada.page.eval("hangupPeer([...state.peers.keys()][0])").await;
    ben.until("state.peers.size === 0 && state.roomState === 'joined'").await;
    ben.page.eval("document.querySelector('.tile .avatar .button:not([hidden])').click()").await;
    tokio::join!(ada.sees_and_hears(1), ben.sees_and_hears(1));
    tokio::join!(ada.said_nothing_bad(), ben.said_nothing_bad());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_survives_a_reload_and_a_restart_of_the_server() {
    let _turn = one_at_a_time().await;
    let port = free_tcp_port();
    let base = format!("http://127.0.0.1:{port}");
    let mut server = Roomcast::serve_on(port, &[]).await;
    let (ada, ben) = tokio::join!(Person::start(SMALL), Person::start(SMALL));
    ada.join(&base, "demo", "Ada").await;
    ben.join(&base, "demo", "Ben").await;
    tokio::join!(ada.sees_and_hears(1), ben.sees_and_hears(1));

    let id = ben.id().await;
    ben.page.reload().await;
    ben.join(&base, "demo", "Ben").await;
    assert_eq!(ben.id().await, id, "a reload comes back as the same member");
    tokio::join!(ada.sees_and_hears(1), ben.sees_and_hears(1));

    for person in [&ada, &ben] {
        person.page.eval("window.__pc = [...state.peers.values()][0].pc").await;
    }
    // Only one side loses the server: the other one ends the call, and it is made again.
    ben.page.eval("state.ws.close()").await;
    ben.until("state.roomState === 'calling' && state.members.length === 2").await;
    ben.until("__connected() === 1 && [...state.peers.values()][0].pc !== __pc").await;
    tokio::join!(ada.sees_and_hears(1), ben.sees_and_hears(1));

    for person in [&ada, &ben] {
        person.page.eval("window.__pc = [...state.peers.values()][0].pc").await;
    }
    server.kill().await;
    ada.until("state.roomState === 'reconnecting'").await;
    let status = ada.page.eval("document.getElementById('status').textContent").await;
    assert!(status.as_str().is_some_and(|text| text.contains("Calls go on")), "{status}");
    let before = ada.page.eval("__received().then((got) => got.frames)").await;
    ada.until(&format!("__received().then((got) => got.frames > {before} + 5)")).await;

    let _server = Roomcast::serve_on(port, &[]).await;
    for person in [&ada, &ben] {
        person.until("state.roomState === 'calling' && state.members.length === 2").await;
        // Past the 10 s during which a member may be missing after a rejoin.
        person.until("(window.__since ??= Date.now()) < Date.now() - 11000").await;
        let kept = "state.peers.size === 1 && [...state.peers.values()][0].pc === __pc && __pc.connectionState === 'connected'";
        assert_eq!(person.page.eval(kept).await, true, "the same connection goes on");
    }
    tokio::join!(ada.sees_and_hears(1), ben.sees_and_hears(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_send_and_refusals_are_said_in_plain_words() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&[]).await;
    let nothing = FlashAndBeep { camera: false, microphone: false, ..SMALL };
    let (ada, ben) = tokio::join!(Person::start(SMALL), Person::start(nothing));
    ada.join(&base, "demo", "Ada").await;
    let taken = json!(ada.id().await);

    ben.page.goto(&format!("{base}/#demo")).await;
    ben.until("typeof connect === 'function' && document.getElementById('room').value === 'demo'").await;
    let refusal =
        ben.page.eval(&format!("connect('demo', {taken}).then(() => 'joined', (error) => error.message)")).await;
    assert_eq!(refusal, "Somebody in this room already uses your id. Choose another one.");
    let refusal = ben.page.eval("connect(' ').then(() => 'joined', (error) => error.message)").await;
    assert_eq!(refusal, "Give the room a name of 1 to 64 characters.");
    let notice = ben.page.eval("document.getElementById('lobby-problem').textContent").await;
    assert_eq!(
        notice,
        "No camera was found. No microphone was found. You can join anyway, to see and hear the others."
    );

    ben.page.eval("document.getElementById('join').click()").await;
    ben.sees_and_hears(1).await;
    ada.until(
        "__connected() === 1 && __others()[0].dataset.cameraOff === 'true' && __others()[0].dataset.muted === 'true'",
    )
    .await;
    // A screen needs no camera: it takes the place that was kept for a picture.
    ben.click("screen").await;
    ada.until("__received().then((got) => got.frames > 5)").await;
    ada.said_nothing_bad().await;
}
