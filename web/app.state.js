// What the page knows, in one object that is also the documented global `state`. Modules read it here and announce
// what they changed with emit(); only the UI modules touch the document.

export const state = {
  myId: "",
  name: "",
  ws: null,
  roomId: "",
  roomState: "idle", // idle connecting joined reconnecting calling
  members: [],
  localStream: null,
  screenStream: null,
  usingScreen: false,
  muted: false,
  cameraOff: false,
  peers: new Map(), // id -> see createPeer in app.peers.js
  recorder: null,
  recordedChunks: [],
};

const bus = new EventTarget();

export function on(name, listener) {
  bus.addEventListener(name, (event) => listener(event.detail));
}

export function emit(name, detail) {
  bus.dispatchEvent(new CustomEvent(name, { detail }));
}

/** The documented hook: a page that embeds us wraps window.setRoomState, so we always call it through window. */
export function setRoomState(next) {
  state.roomState = next;
  emit("room-state", next);
}

/** Bridges join under this prefix; they call everybody themselves and need no tile. */
export const isGateway = (id) => id.startsWith("zzz-gw-");

export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(6));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Where a person has blocked storage even naming it throws, hence the names as text; then nothing is remembered.
export function remembered(storage, key) {
  try {
    return window[storage].getItem(key) ?? "";
  } catch {
    return "";
  }
}

export function remember(storage, key, value) {
  try {
    window[storage].setItem(key, value);
  } catch {
    // see above
  }
}
