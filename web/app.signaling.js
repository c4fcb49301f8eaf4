// One WebSocket to the room: join, rejoin after a loss, and a paced way out. It knows the protocol's envelope and
// nothing of WebRTC: offers, answers, candidates and hangups go up as `signal` events.

import { emit, randomId, state } from "./app.state.js";
import { serverWords } from "./app.words.js";

// Servers drop what exceeds 30 messages a second. A bucket of 9 refilled 15 times a second never sends more than 24.
const BUCKET = 9;
const REFILL_MS = 1000 / 15;
const RETRY_SECONDS = [1, 2, 4, 8];
const JOIN_TIMEOUT_MS = 10_000;
const PING_EVERY_MS = 15_000;
const PONG_WITHIN_MS = 10_000;
const FINAL = new Set(["invalid_id", "invalid_room", "duplicate_id", "identity_locked", "already_joined", "room_full",
  "room_limit_reached", "invalid_join"]);

let wanted = false; // somebody wants to be in a room
let joinedOnce = false;
let generated = false; // the id is ours to change when it is taken
let attempt = 0;
let retryTimer = 0;
let joinTimer = 0;
let pingTimer = 0;
let pongTimer = 0;
let settle = null; // resolve and reject of the connect() that is under way

/**
 * Joins a room. Resolves once the server has let us in; rejects with words for a person.
 * @param myId the id to have, or none: then `suggested`, or another when that is taken
 */
export function join(roomId, myId, suggested = randomId()) {
  const room = roomId.trim();
  const length = new TextEncoder().encode(room).length;
  if (length < 1 || length > 64) return Promise.reject(new Error("Give the room a name of 1 to 64 characters."));
  if (state.roomState !== "idle") leave();
  generated = !myId;
  state.roomId = room;
  state.myId = myId || suggested;
  wanted = true;
  joinedOnce = false;
  attempt = 0;
  window.setRoomState("connecting");
  return new Promise((resolve, reject) => {
    settle = { resolve, reject };
    dial();
  });
}

/** Leaves the room and stops trying. */
export function leave() {
  wanted = false;
  clearTimers();
  outbox.length = 0;
  const ws = state.ws;
  state.ws = null;
  if (ws) {
    if (ws.readyState === WebSocket.OPEN) ws.send(JSON.stringify({ type: "leave" }));
    ws.close(1000);
  }
  settle?.reject(new Error("You left before the server answered."));
  settle = null;
  state.members = [];
  state.roomId = "";
  window.setRoomState("idle");
}

function dial() {
  clearTimers();
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const ws = new WebSocket(`${scheme}://${location.host}/ws`);
  state.ws = ws;
  joinTimer = setTimeout(() => lost(ws), JOIN_TIMEOUT_MS);
  ws.onopen = () => ws.send(JSON.stringify({ type: "join", room: state.roomId, from: state.myId }));
  ws.onclose = () => lost(ws);
  ws.onmessage = (event) => {
    if (ws !== state.ws) return;
    let message;
    try {
      message = JSON.parse(event.data);
    } catch {
      return console.warn("the server sent something that is not JSON");
    }
    receive(ws, message);
  };
}

function receive(ws, message) {
  switch (message.type) {
    case "joined":
      return joined();
    case "room_members":
      state.members = Array.isArray(message.members) ? message.members : [];
      return emit("members", state.members);
    case "offer":
    case "answer":
    case "candidate":
    case "hangup":
      if (message.from && message.from !== state.myId) emit("signal", message);
      return;
    case "pong":
      return clearTimeout(pongTimer);
    case "error":
      return refused(ws, message);
  }
}

function joined() {
  clearTimeout(joinTimer);
  attempt = 0;
  const again = joinedOnce;
  joinedOnce = true;
  window.setRoomState("joined");
  emit("joined", { again });
  schedulePing();
  settle?.resolve();
  settle = null;
}

function refused(ws, { code, error }) {
  if (code === "membership_lost" || code === "not_joined") return lost(ws);
  if (!FINAL.has(code)) return console.warn(`server: ${code} ${error ?? ""}`);
  if (code === "already_joined") return console.warn(error);
  // After a loss our own ghost may hold the id for up to 20 s: come back under the same id.
  if (joinedOnce && code === "duplicate_id") return lost(ws);
  if (code === "duplicate_id" && generated) {
    state.myId = randomId();
    return lost(ws, 0); // a refused id may stay bound to the connection, so on a new one
  }
  if (joinedOnce) return lost(ws, undefined, serverWords(code, error));
  settle?.reject(new Error(serverWords(code, error)));
  settle = null;
  leave();
}

function lost(ws, retryIn, reason) {
  if (ws !== state.ws) return;
  state.ws = null;
  ws.onclose = null;
  ws.close();
  clearTimers();
  outbox.length = 0;
  if (!wanted) return;
  const seconds = retryIn ?? RETRY_SECONDS[Math.min(attempt, RETRY_SECONDS.length - 1)];
  attempt += 1;
  window.setRoomState(joinedOnce ? "reconnecting" : "connecting");
  if (seconds > 0) emit("reconnecting", { seconds, reason });
  retryTimer = setTimeout(dial, seconds * 1000);
}

// A network that vanished silently leaves the socket open for minutes; a missing pong tells sooner.
function schedulePing() {
  clearTimeout(pingTimer);
  pingTimer = setTimeout(() => {
    const ws = state.ws;
    send({ type: "ping" });
    pongTimer = setTimeout(() => lost(ws), PONG_WITHIN_MS);
    schedulePing();
  }, PING_EVERY_MS);
}

function clearTimers() {
  for (const timer of [retryTimer, joinTimer, pingTimer, pongTimer]) clearTimeout(timer);
}

/** Whoever is back online need not wait for the next try. */
export function retryNow() {
  if (!wanted || state.ws) return;
  clearTimers();
  dial();
}

const outbox = [];
let tokens = BUCKET;
let refillTimer = 0;

/** Sends a message, paced. Without a room it is dropped: whoever rejoins negotiates from what is true then. */
export function send(message) {
  if (state.roomState === "idle" || state.ws?.readyState !== WebSocket.OPEN) return;
  outbox.push(message);
  drain();
}

/** Forgets what is still waiting for a peer that is gone. */
export function unsend(peerId) {
  for (let i = outbox.length - 1; i >= 0; i -= 1) if (outbox[i].to === peerId) outbox.splice(i, 1);
}

function drain() {
  while (tokens > 0 && outbox.length > 0 && state.ws?.readyState === WebSocket.OPEN) {
    tokens -= 1;
    state.ws.send(JSON.stringify(outbox.shift()));
  }
  refillTimer ||= setInterval(() => {
    tokens = Math.min(BUCKET, tokens + 1);
    if (outbox.length > 0) drain();
    else if (tokens === BUCKET) refillTimer = clearInterval(refillTimer) ?? 0;
  }, REFILL_MS);
}
