// One RTCPeerConnection per other member, negotiated perfectly (W3C WebRTC 1.0, 10.7): any side may offer at any time,
// the polite one yields. Who calls whom at a join is decided in app.mesh.js.

import { openChat } from "./app.channels.js";
import { outgoing } from "./app.media.js";
import { send, unsend } from "./app.signaling.js";
import { emit, isGateway, state } from "./app.state.js";

// Candidates found this soon travel inside the description: one message instead of ten, and servers limit messages.
const GATHER_MS = 200;
const RESTART_AFTER_MS = 3000;
const NO_ANSWER_MS = 15_000;

export function createPeer(id) {
  const pc = new RTCPeerConnection(window.__APP_CONFIG__?.rtcConfig);
  const peer = {
    id,
    pc,
    polite: state.myId.localeCompare(id) > 0,
    makingOffer: false,
    ignoreOffer: false,
    pendingCandidates: [],
    dc: null,
    stream: new MediaStream(),
    remote: { name: "", muted: false, cameraOff: false, screen: false },
    status: "connecting", // connecting connected interrupted unanswered
    timer: 0,
  };
  state.peers.set(id, peer);
  // Tracks before the first description, so that an offer finds transceivers to reuse and one answer does it all.
  for (const kind of ["audio", "video"]) {
    const track = outgoing(kind);
    if (track) pc.addTrack(track, state.localStream);
  }
  pc.onnegotiationneeded = () => describe(peer, () => pc.setLocalDescription());
  pc.onicecandidate = ({ candidate }) => {
    // Those found while the description waits are inside it; the protocol knows no end of candidates.
    if (candidate?.candidate && !peer.holding) send({ type: "candidate", to: id, candidate });
  };
  pc.ontrack = ({ track }) => {
    for (const old of peer.stream.getTracks()) if (old.kind === track.kind) peer.stream.removeTrack(old);
    peer.stream.addTrack(track);
    track.onmute = track.onunmute = () => emit("peer", peer);
    emit("peer", peer);
  };
  pc.ondatachannel = ({ channel }) => openChat(peer, channel, false);
  pc.onconnectionstatechange = () => watch(peer);
  peer.timer = setTimeout(() => setStatus(peer, "unanswered"), NO_ANSWER_MS);
  emit("peer", peer);
  return peer;
}

/** Calls a member; pressed again it offers anew on the same connection. */
export function callPeer(id) {
  const known = state.peers.get(id);
  if (known) {
    if (known.status === "connected") return describe(known, () => known.pc.setLocalDescription());
    closePeer(id);
  }
  const peer = createPeer(id);
  for (const kind of ["audio", "video"]) {
    if (!outgoing(kind)) peer.pc.addTransceiver(kind, { direction: "recvonly" });
  }
  if (!isGateway(id)) openChat(peer, peer.pc.createDataChannel("chat", { protocol: "roomcast" }), true);
  updateRoomState();
}

/** Ends a call and tells the other side. */
export function hangupPeer(id) {
  if (!state.peers.has(id)) return;
  closePeer(id);
  send({ type: "hangup", to: id });
}

/** Ends a call here. */
export function closePeer(id) {
  const peer = state.peers.get(id);
  if (!peer) return;
  clearTimeout(peer.timer);
  unsend(id);
  peer.pc.onconnectionstatechange = null;
  peer.pc.close();
  state.peers.delete(id);
  emit("peer-closed", peer);
  updateRoomState();
}

/** An offer, answer, candidate or hangup from a member. */
export async function receive({ type, from, sdp, candidate }) {
  if (type === "hangup") return closePeer(from);
  let peer = state.peers.get(from);
  if (type === "offer" && peer && restarted(peer, sdp)) {
    closePeer(from);
    peer = null;
  }
  if (type === "answer") {
    if (!peer) return;
    // It ended our call while we were away and answers anew: a connection cannot change hands, so call again.
    if (restarted(peer, sdp)) return again(from);
  }
  peer ??= createPeer(from);
  updateRoomState();
  try {
    if (type === "candidate") await addCandidate(peer, candidate);
    else await accept(peer, sdp);
  } catch (error) {
    if (!(type === "candidate" && peer.ignoreOffer)) console.warn(`${type} from ${from}: ${error.message}`);
  }
}

async function accept(peer, description) {
  const { pc } = peer;
  const collision = description.type === "offer" && (peer.makingOffer || pc.signalingState !== "stable");
  peer.ignoreOffer = !peer.polite && collision;
  if (peer.ignoreOffer) return;
  await pc.setRemoteDescription(description);
  const waiting = peer.pendingCandidates.splice(0);
  for (const candidate of waiting) await pc.addIceCandidate(candidate).catch((error) => console.warn(error.message));
  if (description.type === "offer") await describe(peer, () => pc.setLocalDescription());
}

function addCandidate(peer, candidate) {
  // Some clients send candidates before the offer they belong to.
  if (!peer.pc.remoteDescription) {
    if (peer.pendingCandidates.length < 100) peer.pendingCandidates.push(candidate);
    return undefined;
  }
  return peer.pc.addIceCandidate(candidate);
}

// The page over there was reloaded under the same id: its certificate is new, so this connection is of the past.
function restarted(peer, description) {
  const fingerprint = (sdp) => /^a=fingerprint:(.*)$/m.exec(sdp ?? "")?.[1].trim();
  const before = fingerprint(peer.pc.remoteDescription?.sdp);
  return Boolean(before) && before !== fingerprint(description?.sdp);
}

async function describe(peer, setLocal) {
  const { pc } = peer;
  try {
    peer.makingOffer = true;
    peer.holding = true;
    await setLocal();
  } catch (error) {
    console.warn(`describing to ${peer.id}: ${error.message}`);
  } finally {
    peer.makingOffer = false;
  }
  const made = pc.localDescription;
  await gathered(pc);
  peer.holding = false;
  if (pc.signalingState === "closed" || !made) return;
  if (pc.localDescription?.type === made.type) sendDescription(peer);
  // An answer is owed even when an offer of ours followed it at once; an offer that was rolled back is not.
  else if (made.type === "answer") send({ type: "answer", to: peer.id, sdp: made });
}

function gathered(pc) {
  if (pc.iceGatheringState === "complete") return undefined;
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHER_MS);
    pc.addEventListener("icegatheringstatechange", () => {
      if (pc.iceGatheringState !== "complete") return;
      clearTimeout(timer);
      resolve();
    });
  });
}

function sendDescription({ id, pc }) {
  send({ type: pc.localDescription.type, to: id, sdp: pc.localDescription });
}

function again(id) {
  closePeer(id);
  callPeer(id);
}

/** After signaling came back: what was under way may be lost, so say it again. */
export function resume(peer) {
  // Closed over there because we were missing from its list.
  if (peer.dc?.readyState === "closed") again(peer.id);
  else if (peer.pc.signalingState === "have-local-offer") sendDescription(peer);
  else if (peer.pc.connectionState !== "connected") peer.pc.restartIce();
}

function watch(peer) {
  const connection = peer.pc.connectionState;
  clearTimeout(peer.timer);
  if (connection === "connected") {
    setStatus(peer, "connected");
  } else if (connection === "disconnected" || connection === "failed") {
    setStatus(peer, "interrupted");
    peer.timer = setTimeout(() => restart(peer), RESTART_AFTER_MS);
  }
}

function restart(peer) {
  if (!state.peers.has(peer.id) || peer.pc.connectionState === "connected") return;
  if (peer.pc.signalingState === "have-local-offer") sendDescription(peer);
  else peer.pc.restartIce();
  peer.timer = setTimeout(() => restart(peer), 2 * RESTART_AFTER_MS);
}

function setStatus(peer, status) {
  peer.status = status;
  emit("peer", peer);
  updateRoomState();
}

/** `calling` while somebody is in a call with us, `joined` while nobody is. */
export function updateRoomState() {
  if (state.roomState !== "joined" && state.roomState !== "calling") return;
  const next = state.peers.size > 0 ? "calling" : "joined";
  if (next !== state.roomState) window.setRoomState(next);
}

/** Puts the track that we send now of a kind on every connection. */
export function replaceOutgoing(kind) {
  const track = outgoing(kind);
  return Promise.all(Array.from(state.peers.values(), async ({ id, pc }) => {
    const transceiver = pc.getTransceivers().find((one) => one.receiver.track.kind === kind && !one.stopped);
    if (!transceiver) {
      if (track) pc.addTrack(track, state.localStream);
      return;
    }
    try {
      await transceiver.sender.replaceTrack(track);
    } catch (error) {
      return console.warn(`replacing ${kind} to ${id}: ${error.message}`);
    }
    if (track && !transceiver.direction.includes("send")) {
      transceiver.sender.setStreams(state.localStream);
      transceiver.direction = transceiver.direction === "recvonly" ? "sendrecv" : "sendonly";
    }
  }));
}
