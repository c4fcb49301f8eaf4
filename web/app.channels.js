// Data channels. `chat` carries plain text and is opened by the caller, as in the protocol. Between two of our own
// pages (the chat channel's protocol says "roomcast") a second, pre-negotiated one carries what a person should see of
// the other: name, muted, camera off, sharing a screen. Other clients never receive anything on it.

import { emit, on, state } from "./app.state.js";

const PRESENCE_ID = 100;
const MAX_TEXT = 4000;

export function openChat(peer, channel, caller) {
  if (channel.label !== "chat") return;
  if (!peer.dc || peer.dc.readyState !== "open") peer.dc = channel;
  channel.onmessage = ({ data }) => {
    if (typeof data === "string") emit("chat", { from: peer.id, text: data.slice(0, MAX_TEXT) });
  };
  channel.onopen = () => {
    peer.dc = channel;
    emit("peer", peer);
  };
  if (channel.protocol === "roomcast") openPresence(peer, caller);
}

function openPresence(peer, caller) {
  if (!peer.presence) {
    const channel = peer.pc.createDataChannel("presence", { negotiated: true, id: PRESENCE_ID });
    peer.presence = channel;
    channel.onopen = () => tell(peer);
    channel.onmessage = ({ data }) => {
      readPresence(peer, data);
      if (!peer.speaksPresence) {
        peer.speaksPresence = true;
        tell(peer);
      }
    };
  }
  // The caller does not know yet whether the other side has this channel; it learns it from the first message.
  if (!caller) {
    peer.speaksPresence = true;
    tell(peer);
  }
}

function tell(peer) {
  if (!peer.speaksPresence || peer.presence?.readyState !== "open") return;
  const { name, muted, cameraOff, usingScreen } = state;
  peer.presence.send(JSON.stringify({ name, muted, cameraOff: cameraOff && !usingScreen, screen: usingScreen }));
}

function readPresence(peer, data) {
  let said;
  try {
    said = JSON.parse(data);
  } catch {
    return;
  }
  peer.remote = {
    name: typeof said.name === "string" ? said.name.slice(0, 40) : "",
    muted: said.muted === true,
    cameraOff: said.cameraOff === true,
    screen: said.screen === true,
  };
  emit("peer", peer);
}

on("media", () => {
  for (const peer of state.peers.values()) tell(peer);
});

/** Sends text to everybody with an open chat channel. Returns to how many. */
export function sendChat(text) {
  const line = String(text).trim().slice(0, MAX_TEXT);
  if (!line) return 0;
  let reached = 0;
  for (const { dc } of state.peers.values()) {
    if (dc?.readyState !== "open") continue;
    dc.send(line);
    reached += 1;
  }
  emit("chat", { from: state.myId, text: line, reached });
  return reached;
}
