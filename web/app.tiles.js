// One tile per person: picture, name, and what a person should see of the other's state. Lays them out so that the
// tiles of a shape of 16:9 fill the stage.

import { callPeer, hangupPeer } from "./app.peers.js";
import { emit, isGateway, on, state } from "./app.state.js";

const stage = document.getElementById("stage");
const tiles = new Map(); // id -> parts of the tile

const icon = (name) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
};

function element(tag, className, text = "") {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

export function nameOf(id) {
  if (id === state.myId) return state.name || "You";
  if (isGateway(id)) return "Broadcast";
  const given = state.peers.get(id)?.remote.name;
  if (given) return given;
  return /^[0-9a-f]{12}$/.test(id) ? `Guest ${id.slice(0, 4)}` : id;
}

function create(id) {
  const root = element("article", "tile");
  root.dataset.id = id;
  const video = Object.assign(element("video", ""), { autoplay: true, playsInline: true });
  if (id === state.myId) video.muted = true;
  // Another shape than 16:9 (a phone held upright, a screen) is shown whole.
  video.addEventListener("resize", () => root.classList.toggle("upright", video.videoHeight > video.videoWidth));
  const avatar = element("div", "avatar");
  const initial = element("span", "");
  const note = element("p", "tile-note");
  const call = Object.assign(element("button", "button small", "Call"), { type: "button" });
  call.addEventListener("click", () => callPeer(id));
  avatar.append(initial, note, call);
  const label = element("div", "label");
  const micOff = icon("i-mic-off");
  const name = element("span", "");
  label.append(micOff, name);
  const hangup = Object.assign(element("button", "icon tile-hangup"), { type: "button" });
  hangup.append(icon("i-close"), element("span", "sr", "Hang up"));
  hangup.addEventListener("click", () => hangupPeer(id));
  root.append(video, avatar, label);
  if (id !== state.myId) root.append(hangup);
  stage.append(root);
  return { root, video, initial, note, call, name, micOff, hangup };
}

const NOTES = {
  connecting: "Connecting…",
  interrupted: "Connection lost, trying again…",
  unanswered: "No answer",
};

// Without a tile for a stream there is no sound either, so a tile never depends on a picture being there.
function update(id) {
  const tile = tiles.get(id);
  if (!tile) return;
  const mine = id === state.myId;
  const peer = state.peers.get(id);
  const stream = mine ? (state.usingScreen ? state.screenStream : state.localStream) : peer?.stream ?? null;
  if (tile.video.srcObject !== stream) {
    tile.video.srcObject = stream;
    if (stream) playSoon(tile.video);
  }
  const screen = mine ? state.usingScreen : Boolean(peer?.remote.screen);
  const muted = mine ? state.muted : Boolean(peer?.remote.muted);
  const off = mine ? state.cameraOff && !state.usingScreen : Boolean(peer?.remote.cameraOff);
  const picture = stream?.getVideoTracks().some((track) => track.readyState === "live" && (mine || !track.muted));
  const connected = mine || peer?.status === "connected";
  const status = peer?.status ?? (mine ? "connected" : "absent");
  tile.root.dataset.status = status;
  tile.root.classList.toggle("dark", off || !picture || status === "absent" || status === "unanswered" || !connected && !picture);
  tile.root.classList.toggle("mirror", mine && !screen);
  tile.root.classList.toggle("screen", screen);
  tile.root.dataset.muted = muted;
  tile.root.dataset.cameraOff = off;
  const name = nameOf(id);
  tile.name.textContent = mine && state.name ? `${name} (you)` : name;
  tile.initial.textContent = name.slice(0, 1).toUpperCase();
  tile.note.textContent = mine ? "" : NOTES[status] ?? (status === "absent" ? "Not in a call with you" : off ? "Camera off" : "");
  tile.call.hidden = status !== "absent" && status !== "unanswered";
  tile.hangup.hidden = !peer;
  tile.micOff.toggleAttribute("hidden", !muted);
  tile.root.setAttribute("aria-label", [name, muted && "muted", off && "camera off", screen && "shares a screen"].filter(Boolean).join(", "));
}

// A page that joined without a click (by script) may not play sound yet: the next click makes up for it.
function playSoon(video) {
  video.play().catch((error) => {
    if (error.name !== "NotAllowedError") return;
    emit("problem", "Click anywhere to hear the others.");
    document.addEventListener("pointerdown", () => video.play().catch(() => {}), { once: true });
  });
}

/** Makes the tiles match the room: ourselves, every member, and every call. */
export function refresh() {
  const wanted = new Set();
  if (state.roomState !== "idle") {
    for (const id of [state.myId, ...state.members, ...state.peers.keys()]) if (!isGateway(id)) wanted.add(id);
  }
  for (const [id, { root, video }] of tiles) {
    if (wanted.has(id)) continue;
    video.srcObject = null;
    root.remove();
    tiles.delete(id);
  }
  for (const id of wanted) {
    if (!tiles.has(id)) tiles.set(id, create(id));
    update(id);
  }
  arrange();
}

function arrange() {
  const count = tiles.size;
  const style = getComputedStyle(stage);
  const gap = parseFloat(style.columnGap) || 0;
  const width = stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const height = stage.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
  if (count === 0 || width <= 0 || height <= 0) return;
  let best = { columns: 1, width: 0, height: 0, area: 0 };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const cell = (width - gap * (columns - 1)) / columns;
    const room = (height - gap * (rows - 1)) / rows;
    // Between 4:3 and 16:9 a tile may stretch to use the space; a picture is cropped a little, never squeezed.
    const w = Math.min(cell, (room * 16) / 9);
    const h = Math.min(room, (w * 3) / 4);
    if (w * h > best.area) best = { columns, width: w, height: h, area: w * h };
  }
  stage.style.setProperty("--tile-width", `${Math.floor(best.width)}px`);
  stage.style.setProperty("--tile-height", `${Math.floor(best.height)}px`);
}

new ResizeObserver(arrange).observe(stage);
on("members", refresh);
on("media", refresh);
on("room-state", refresh);
on("peer-closed", refresh);
on("peer", refresh);

// Who is speaking, from what was played last.
setInterval(() => {
  for (const [id, { root }] of tiles) {
    const receiver = state.peers.get(id)?.pc.getReceivers().find(({ track }) => track.kind === "audio");
    const level = receiver?.getSynchronizationSources?.()[0]?.audioLevel ?? 0;
    root.classList.toggle("speaking", level > 0.03);
  }
}, 300);
