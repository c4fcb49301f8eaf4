// The join card, the control bar, what is said in words, and the invitation. It calls the documented globals, so that
// a page that wraps one of them sees every click.

import { toggleChat } from "./app.chat.js";
import { startMedia } from "./app.media.js";
import { retryNow } from "./app.signaling.js";
import { isGateway, on, remember, remembered, state } from "./app.state.js";

const find = (id) => document.getElementById(id);
const buttons = (act) => document.querySelectorAll(`[data-act="${act}"]`);
const lobby = find("lobby");
const call = find("call");

// ---- join card

function roomOfUrl() {
  const hash = location.hash.slice(1);
  try {
    return new URLSearchParams(location.search).get("room") || decodeURIComponent(hash);
  } catch {
    return hash; // not percent-encoded: as it stands
  }
}

find("room").value = roomOfUrl();
find("name").value = remembered("localStorage", "roomcast.name");
find(find("room").value ? "name" : "room").focus();

find("preview-start").addEventListener("click", () => startMedia());
find("join-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = find("join");
  find("lobby-problem").textContent = "";
  state.name = find("name").value.trim();
  remember("localStorage", "roomcast.name", state.name);
  button.disabled = true;
  button.textContent = "Joining…";
  try {
    await window.connect(find("room").value);
  } catch (error) {
    find("lobby-problem").textContent = error.message;
  }
  button.disabled = false;
  button.textContent = "Join";
});

// Where the camera was allowed before, the preview starts by itself; otherwise it waits for a click.
navigator.permissions?.query({ name: "camera" }).then(
  ({ state: permission }) => permission === "granted" && state.roomState === "idle" && startMedia(),
  () => {}, // Firefox before 131 does not know the name
);

// ---- control bar

const ACTS = {
  mute: () => window.toggleMute(),
  camera: () => window.toggleCamera(),
  screen: () => (state.usingScreen ? window.stopScreenShare() : window.startScreenShare()),
  record: () => (state.recorder ? window.stopRecording() : window.startRecording()),
  chat: () => toggleChat(),
  leave: () => window.disconnect(),
};
for (const [act, run] of Object.entries(ACTS)) {
  for (const button of buttons(act)) button.addEventListener("click", run);
}
if (!navigator.mediaDevices?.getDisplayMedia) buttons("screen").forEach((button) => (button.hidden = true));
if (!window.MediaRecorder) buttons("record").forEach((button) => (button.hidden = true));

function show(act, pressed, icon, text) {
  for (const button of buttons(act)) {
    button.setAttribute("aria-pressed", String(pressed));
    button.querySelector("use").setAttribute("href", icon);
    button.querySelector("span").textContent = text;
  }
}

function showMedia({ problems = [], receiveOnly } = {}) {
  show("mute", state.muted, state.muted ? "#i-mic-off" : "#i-mic", state.muted ? "Unmute" : "Mute");
  show("camera", state.cameraOff, state.cameraOff ? "#i-cam-off" : "#i-cam", state.cameraOff ? "Start video" : "Stop video");
  show("screen", state.usingScreen, "#i-screen", state.usingScreen ? "Stop share" : "Share");
  const preview = find("preview");
  if (preview.srcObject !== state.localStream) preview.srcObject = state.localStream;
  const started = Boolean(state.localStream);
  find("preview-note").hidden = started && !state.cameraOff;
  find("preview-start").hidden = started;
  find("preview-text").textContent = started ? "Your camera is off." : "Your camera and microphone are off.";
  lobby.classList.toggle("with-media", started);
  const text = receiveOnly ? `${problems.join(" ")} You can join anyway, to see and hear the others.` : problems.join(" ");
  if (text) (state.roomState === "idle" ? (find("lobby-problem").textContent = text) : notice(text));
}

// ---- what is said in words

export function notice(text, seconds = 8) {
  const line = document.createElement("p");
  line.textContent = text;
  find("notices").append(line);
  setTimeout(() => line.remove(), seconds * 1000);
}

let countdown = 0;

function showStatus() {
  clearInterval(countdown);
  const others = state.members.filter((id) => id !== state.myId && !isGateway(id)).length;
  const words = {
    idle: "",
    connecting: "Connecting…",
    reconnecting: "Connection to the server lost. Calls go on.",
  };
  const inRoom = others === 0 ? "Nobody else is here yet" : others === 1 ? "1 other person" : `${others} other people`;
  find("status").textContent = words[state.roomState] ?? inRoom;
  find("status").dataset.state = state.roomState;
  // We call a broadcast live once media flows to it.
  find("on-air").hidden = ![...state.peers.values()].some(({ id, status }) => isGateway(id) && status === "connected");
}

function showRoomState(roomState) {
  const inside = roomState !== "idle" && (roomState !== "connecting" || !call.hidden);
  if (inside === call.hidden) {
    lobby.hidden = inside;
    call.hidden = !inside;
    document.title = inside ? `${state.roomId} · roomcast` : "roomcast";
    // The button that was pressed is gone: the focus goes on instead of being lost.
    (inside ? document.querySelector('.bar [data-act="mute"]') : find("room")).focus();
  }
  if (inside) {
    find("room-title").textContent = state.roomId;
    const url = new URL(location.href);
    url.hash = "";
    url.searchParams.set("room", state.roomId);
    if (url.href !== location.href) history.replaceState(null, "", url);
  }
  showStatus();
}

on("media", showMedia);
on("problem", (text) => notice(text));
on("room-state", showRoomState);
on("members", showStatus);
on("peer", showStatus);
on("peer-closed", showStatus);
on("recording", (running) => {
  show("record", running, "#i-record", running ? "Stop" : "Record");
  find("recording").hidden = !running;
});
on("reconnecting", ({ seconds, reason }) => {
  const until = Date.now() + seconds * 1000;
  const tick = () => {
    const left = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    const why = reason ?? (state.roomState === "reconnecting" ? "Connection to the server lost. Calls go on." : "The server does not answer.");
    const text = `${why} Trying again${left > 0 ? ` in ${left} s` : ""}…`;
    find(call.hidden ? "lobby-problem" : "status").textContent = text;
  };
  clearInterval(countdown);
  tick();
  if (seconds > 1) countdown = setInterval(tick, 1000);
});
window.addEventListener("online", retryNow);
window.addEventListener("hashchange", () => {
  if (state.roomState === "idle") find("room").value = roomOfUrl();
});

// ---- invitation

find("invite").addEventListener("click", () => {
  const room = encodeURIComponent(state.roomId);
  find("link-call").value = `${location.origin}/?room=${room}`;
  find("link-watch").value = `${location.origin}/watch/${room}`;
  find("invite-dialog").showModal();
});
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const field = find(button.dataset.copy);
    field.select();
    // The clipboard needs a secure page; the old way works everywhere.
    const copied = await navigator.clipboard?.writeText(field.value).then(() => true, () => false);
    if (!copied) document.execCommand("copy");
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}

showMedia();
