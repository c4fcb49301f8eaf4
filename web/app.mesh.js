// Who is called and who is let go, from the list of members. The newcomer calls those who were there before it, except
// bridges (they call by themselves); everybody answers. So a mesh forms with one offer per pair.

import { callPeer, closePeer, hangupPeer, receive, resume, updateRoomState } from "./app.peers.js";
import * as signaling from "./app.signaling.js";
import { emit, isGateway, on, state } from "./app.state.js";

// A server that was restarted lists its members as they come back: media that flows is kept that long without them.
const GRACE_MS = 10_000;

let newcomer = false;
let returning = false;
let graceTimer = 0;

on("joined", ({ again }) => {
  newcomer = true;
  returning = again;
  clearTimeout(graceTimer);
  graceTimer = again ? setTimeout(endGrace, GRACE_MS) : 0;
});

on("members", (members) => {
  const others = members.filter((id) => id !== state.myId);
  for (const [id, peer] of [...state.peers]) {
    const kept = graceTimer && peer.pc.connectionState === "connected";
    if (!others.includes(id) && !kept) closePeer(id);
  }
  if (newcomer) {
    newcomer = false;
    for (const id of others) {
      const peer = state.peers.get(id);
      if (peer && returning) resume(peer);
      else if (!peer && !isGateway(id)) callPeer(id);
    }
  }
  updateRoomState();
});

on("signal", (message) => receive(message));

function endGrace() {
  graceTimer = 0;
  for (const id of [...state.peers.keys()]) if (!state.members.includes(id)) closePeer(id);
  emit("members", state.members);
}

/** Ends every call; the room stays. */
export function hangupAll() {
  for (const id of [...state.peers.keys()]) hangupPeer(id);
}

/** Ends every call and leaves the room. */
export function leaveRoom() {
  clearTimeout(graceTimer);
  graceTimer = 0;
  for (const id of [...state.peers.keys()]) closePeer(id); // members see us leave the list
  signaling.leave();
}
