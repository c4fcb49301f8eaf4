// What we send: camera, microphone, screen. Works with any of them missing.
//
// Camera off really stops the camera (its light goes out) and sends black frames, one a second, in its place: every
// receiver, a bridge's recording too, sees black at once instead of a face frozen in the last frame, and the RTP stream
// never ends. Mute keeps the microphone open and sends silence (track.enabled), so that unmuting is immediate.

import { emit, state } from "./app.state.js";
import { deviceWords } from "./app.words.js";

const VIDEO = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

let starting = null;
let blank = null;

/** Opens camera and microphone once; later calls return the same stream. Never throws: what is missing is said. */
export function startMedia() {
  starting ??= open();
  return starting;
}

async function open() {
  state.localStream = new MediaStream();
  const problems = [];
  const both = await capture({ audio: AUDIO, video: VIDEO }).catch(() => null);
  if (both) {
    both.getTracks().forEach(adopt);
  } else {
    // One missing device fails the pair: ask for each alone.
    for (const [what, constraints] of [["camera", { video: VIDEO }], ["microphone", { audio: AUDIO }]]) {
      try {
        (await capture(constraints)).getTracks().forEach(adopt);
      } catch (error) {
        problems.push(deviceWords(error, what));
      }
    }
  }
  const { muted, cameraOff } = state;
  if (!micTrack()) state.muted = true;
  else if (muted) micTrack().enabled = false;
  if (!cameraTrack()) state.cameraOff = true;
  else if (cameraOff) dropCamera();
  emit("media", { problems, receiveOnly: !micTrack() && !cameraTrack() && problems.length === 2 });
  return state.localStream;
}

function capture(constraints) {
  if (!navigator.mediaDevices?.getUserMedia) {
    return Promise.reject(Object.assign(new Error("not a secure page"), { name: "InsecureContext" }));
  }
  return navigator.mediaDevices.getUserMedia(constraints);
}

function adopt(track) {
  state.localStream.addTrack(track);
  track.addEventListener("ended", () => {
    // Unplugged, or taken away by the browser.
    if (!state.localStream.getTracks().includes(track)) return;
    state.localStream.removeTrack(track);
    if (track.kind === "video") state.cameraOff = true;
    else state.muted = true;
    emit("outgoing", track.kind);
    emit("media", { problems: [track.kind === "video" ? "The camera stopped." : "The microphone stopped."] });
  });
}

const cameraTrack = () => state.localStream?.getVideoTracks()[0] ?? null;
const micTrack = () => state.localStream?.getAudioTracks()[0] ?? null;

/** The track that peers should get now; null when there is nothing to send of that kind. */
export function outgoing(kind) {
  if (kind === "audio") return micTrack();
  if (state.usingScreen) return state.screenStream.getVideoTracks()[0];
  return cameraTrack() ?? blank?.track ?? null;
}

function dropCamera() {
  const track = cameraTrack();
  if (!track) return;
  const { width = 1280, height = 720 } = track.getSettings();
  startBlank(width, height);
  state.localStream.removeTrack(track);
  track.stop();
}

// Same size as the camera had, so that no receiver sees a change of resolution.
function startBlank(width, height) {
  stopBlank();
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { alpha: false });
  const paint = () => context.fillRect(0, 0, width, height);
  paint();
  const track = canvas.captureStream(2).getVideoTracks()[0];
  blank = { track, timer: setInterval(paint, 1000) };
}

function stopBlank() {
  if (!blank) return;
  clearInterval(blank.timer);
  blank.track.stop();
  blank = null;
}

/** Mutes or unmutes; without a microphone it asks for one. Returns whether we are muted now. */
export async function toggleMute() {
  if (!starting) {
    state.muted = !state.muted; // how to begin
  } else if (!micTrack()) {
    try {
      (await capture({ audio: AUDIO })).getTracks().forEach(adopt);
      state.muted = false;
      emit("outgoing", "audio");
    } catch (error) {
      emit("media", { problems: [deviceWords(error, "microphone")] });
    }
  } else {
    state.muted = !state.muted;
    micTrack().enabled = !state.muted;
  }
  emit("media", {});
  return state.muted;
}

let toggling = null;

/** Stops the camera, or starts it again. Returns whether it is off now. */
export function toggleCamera() {
  toggling ??= switchCamera().finally(() => (toggling = null));
  return toggling;
}

async function switchCamera() {
  await starting;
  if (!starting) {
    state.cameraOff = !state.cameraOff; // how to begin
  } else if (cameraTrack()) {
    dropCamera();
    state.cameraOff = true;
  } else {
    try {
      (await capture({ video: VIDEO })).getTracks().forEach(adopt);
      state.cameraOff = false;
    } catch (error) {
      emit("media", { problems: [deviceWords(error, "camera")] });
      return state.cameraOff;
    }
  }
  emit("outgoing", "video");
  if (!state.cameraOff) stopBlank();
  emit("media", {});
  return state.cameraOff;
}

/** Sends a screen in place of the camera. Returns whether it is being shared. */
export async function startScreenShare() {
  if (state.usingScreen) return true;
  try {
    const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 15, max: 30 } } });
    const track = stream.getVideoTracks()[0];
    track.contentHint = "detail";
    track.addEventListener("ended", stopScreenShare);
    state.screenStream = stream;
    state.usingScreen = true;
  } catch (error) {
    // Closing the picker is a choice, not a problem.
    if (error.name !== "NotAllowedError") emit("media", { problems: [deviceWords(error, "screen")] });
    return false;
  }
  emit("outgoing", "video");
  emit("media", {});
  return true;
}

export function stopScreenShare() {
  if (!state.usingScreen) return;
  state.usingScreen = false;
  emit("outgoing", "video");
  state.screenStream.getTracks().forEach((track) => track.stop());
  state.screenStream = null;
  emit("media", {});
}

/** Gives every device back. */
export function stopMedia() {
  stopScreenShare();
  stopBlank();
  state.localStream?.getTracks().forEach((track) => track.stop());
  state.localStream = null;
  state.muted = false;
  state.cameraOff = false;
  starting = null;
  emit("media", {});
}
