// The call page. Wires the modules together and offers the documented functions on window; see each module:
//
//   app.ui     app.tiles  app.chat     what a person sees
//   app.mesh                           who calls whom
//   app.peers  app.channels            one connection per member
//   app.media  app.record              what we send, and recording
//   app.signaling                      the WebSocket
//   app.state  app.words               what all of them share

import "./app.chat.js";
import { sendChat } from "./app.channels.js";
import { outgoing, startMedia, startScreenShare, stopMedia, stopScreenShare, toggleCamera, toggleMute } from "./app.media.js";
import { hangupAll, leaveRoom } from "./app.mesh.js";
import { callPeer, hangupPeer, replaceOutgoing } from "./app.peers.js";
import { startRecording, stopRecording } from "./app.record.js";
import { join } from "./app.signaling.js";
import { on, randomId, remember, remembered, setRoomState, state } from "./app.state.js";
import "./app.tiles.js";
import "./app.ui.js";

on("outgoing", (kind) => replaceOutgoing(kind));

/** Joins a room. Without an id it takes the one this tab had before a reload, or a new one. */
async function connect(roomId, myId) {
  await startMedia();
  if (myId) return join(roomId, myId);
  // A reload comes back as the same member; a duplicated tab finds the id taken and gets another one.
  await join(roomId, undefined, remembered("sessionStorage", "roomcast.id") || randomId());
  remember("sessionStorage", "roomcast.id", state.myId);
}

function disconnect() {
  stopRecording();
  leaveRoom();
  stopMedia();
}

window.setRoomState = setRoomState;
Object.assign(window, {
  state,
  connect,
  disconnect,
  callPeer,
  hangupPeer,
  hangupAll,
  toggleMute,
  toggleCamera,
  startScreenShare,
  stopScreenShare,
  startRecording,
  stopRecording,
  sendChat,
  startMedia,
  outgoing,
});

// Whoever closes the tab leaves at once instead of lingering until the server notices.
window.addEventListener("pagehide", (event) => {
  if (!event.persisted) leaveRoom();
});
