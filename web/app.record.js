// Recording in the browser: the picture of one participant (the first other one, or oneself when alone) with the sound
// of everybody, downloaded when it stops.

import { emit, on, state } from "./app.state.js";

const TYPES = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];
let sound = null;

/** @param id whose picture; by default the first participant with one, else our own */
export function startRecording(id) {
  if (state.recorder) return;
  const peer = id ? state.peers.get(id) : [...state.peers.values()].find((one) => one.stream.getVideoTracks().length > 0);
  const source = peer?.stream ?? (state.usingScreen ? state.screenStream : state.localStream);
  const video = source?.getVideoTracks()[0];
  const recorded = new MediaStream(video ? [video] : []);
  sound = mixSound();
  recorded.addTrack(sound.track);
  const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
  const recorder = new MediaRecorder(recorded, { mimeType });
  state.recorder = recorder;
  state.recordedChunks = [];
  recorder.ondataavailable = ({ data }) => {
    if (data.size > 0) state.recordedChunks.push(data);
  };
  recorder.onstop = () => finish(mimeType);
  recorder.onerror = ({ error }) => emit("problem", `Recording stopped: ${error?.message ?? "unknown error"}`);
  recorder.start(1000);
  emit("recording", true);
}

export function stopRecording() {
  if (state.recorder?.state === "recording") state.recorder.stop();
}

function mixSound() {
  const context = new AudioContext();
  const destination = context.createMediaStreamDestination();
  const streams = [state.localStream, ...Array.from(state.peers.values(), (peer) => peer.stream)];
  const heard = new WeakSet();
  const add = (stream) => {
    if (!stream || heard.has(stream) || stream.getAudioTracks().length === 0) return;
    heard.add(stream);
    context.createMediaStreamSource(stream).connect(destination);
  };
  streams.forEach(add);
  return { track: destination.stream.getAudioTracks()[0], add, context };
}

// Whoever joins, or finds a microphone, while a recording runs is heard in it.
on("peer", (peer) => sound?.add(peer.stream));
on("media", () => sound?.add(state.localStream));

function finish(mimeType) {
  const blob = new Blob(state.recordedChunks, { type: mimeType });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  const time = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  link.download = `${state.roomId || "call"}-${time}.${mimeType.includes("mp4") ? "mp4" : "webm"}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  sound?.context.close();
  sound = null;
  state.recorder = null;
  emit("recording", false);
}
