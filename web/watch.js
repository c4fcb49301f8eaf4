// The watch page: plays a room's HLS, says what is going on while there is nothing to play, comes back by itself, and
// shows how to watch with other players. Tests read window.__watch.

const find = (id) => document.getElementById(id);
const room = decodeURIComponent(location.pathname.split("/")[2] ?? "");
// encodeURIComponent leaves an apostrophe alone, and it would end a quoted word in a shell.
const base = `${location.origin}/rooms/${encodeURIComponent(room).replaceAll("'", "%27")}`;
const playlist = `${base}/hls/index.m3u8`;
const video = find("video");

const RETRY_SECONDS = 3;
const BEHIND_SECONDS = 15; // further behind than this, offer a way back to the live edge
// A player that starts closer to the end of a playlist has to wait for its next segments (RFC 8216, section 6.3.3).
const ENOUGH_SEGMENTS = 3;

let hls = null;
let attempt = 0;
const errors = [];
let stalls = 0;

// ---- finding the broadcast

async function look() {
  const mine = ++attempt;
  let answer;
  try {
    answer = await fetch(playlist, { cache: "no-store" });
  } catch {
    return wait(mine, "The server does not answer. Trying again…", RETRY_SECONDS);
  }
  if (mine !== attempt) return;
  const after = Number(answer.headers.get("retry-after")) || RETRY_SECONDS;
  const body = (await answer.text()).trim();
  if (answer.ok) return playable(body) ? play(!ownSegments(body)) : wait(mine, "The broadcast is starting…", 1);
  const said = body.slice(0, 200);
  if (answer.status === 503) return wait(mine, "The broadcast is starting…", after);
  if (answer.status === 404) {
    const empty = /no members|nobody/i.test(said);
    return wait(mine, empty ? "Nobody is in the room yet." : sentence(said) || "This room is not broadcast.", after);
  }
  return wait(mine, `The server answered ${answer.status}. Trying again…`, after);
}

function playable(text) {
  // With low latency a player starts so many parts before the end, and a list of renditions is written when they are there.
  if (!ownSegments(text)) return true;
  return (text.match(/^#EXTINF:/gm) ?? []).length >= ENOUGH_SEGMENTS || text.includes("#EXT-X-ENDLIST");
}

/** Whether a playlist is one of whole segments. */
function ownSegments(text) {
  return !text.includes("#EXT-X-PART:") && !text.includes("#EXT-X-STREAM-INF:");
}

function sentence(text) {
  if (!text || text.startsWith("<")) return "";
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?…]$/.test(text) ? "" : "."}`;
}

function wait(mine, text, seconds) {
  if (mine !== attempt) return;
  say("waiting", text);
  setTimeout(() => mine === attempt && look(), Math.min(Math.max(seconds, 0.5), 30) * 1000);
}

// ---- playing

function play(itsOwnPace) {
  stop();
  say("starting", "Starting…");
  // Safari and recent Chromium say that they play HLS by themselves; hls.js tells more, so it goes first where it works
  // and an iPhone without it plays natively.
  if (window.Hls?.isSupported()) {
    // With low latency the playlist itself says how far from its end to play: a number of ours would replace it.
    hls = new window.Hls(
      itsOwnPace
        ? { lowLatencyMode: true, maxLiveSyncPlaybackRate: 1.1, liveSyncOnStallIncrease: 0.2 }
        : { liveSyncDurationCount: ENOUGH_SEGMENTS, liveMaxLatencyDurationCount: 8, maxLiveSyncPlaybackRate: 1.05 },
    );
    hls.on(window.Hls.Events.ERROR, (event, data) => failed(data));
    hls.on(window.Hls.Events.MANIFEST_PARSED, begin);
    hls.loadSource(playlist);
    hls.attachMedia(video);
  } else if (video.canPlayType("application/vnd.apple.mpegurl")) {
    video.src = playlist;
    begin();
  } else {
    say("failed", "This browser cannot play HLS. Use one of the players below.");
  }
}

async function begin() {
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError") return;
    // Sound needs a click; the picture does not.
    video.muted = true;
    find("sound").hidden = false;
    await video.play().catch(() => say("paused", "Press play to watch."));
  }
}

let recovered = 0;

function failed(data) {
  errors.push(`${data.type}: ${data.details}${data.fatal ? " (fatal)" : ""}`);
  if (errors.length > 100) errors.shift();
  if (!data.fatal) return;
  if (data.type === window.Hls.ErrorTypes.MEDIA_ERROR && Date.now() - recovered > 10_000) {
    recovered = Date.now();
    return hls.recoverMediaError();
  }
  again("The broadcast stopped. Waiting for it to come back…");
}

function again(text) {
  stop();
  attempt += 1;
  wait(attempt, text, 1);
}

function stop() {
  hls?.destroy();
  hls = null;
  video.removeAttribute("src");
}

video.addEventListener("playing", () => say("live", "Live"));
video.addEventListener("waiting", () => {
  if (find("player").dataset.state !== "live") return;
  stalls += 1;
  say("buffering", "Buffering…");
});
video.addEventListener("pause", () => find("player").dataset.state === "live" && say("paused", "Paused"));
video.addEventListener("ended", () => again("The broadcast ended. Waiting for the next one…"));
video.addEventListener("error", () => {
  if (!hls && video.getAttribute("src")) again("The broadcast stopped. Waiting for it to come back…");
});

// ---- what a person sees

function say(state, text) {
  find("player").dataset.state = state;
  find("status").textContent = text;
  find("status").dataset.state = state;
  find("curtain-text").textContent = text;
}

/** Seconds from the camera's clock where the playlist carries it, else from the live edge. */
function latency() {
  const shown = hls?.playingDate ?? (video.getStartDate && new Date(video.getStartDate().getTime() + video.currentTime * 1000));
  const behind = shown ? (Date.now() - shown.getTime()) / 1000 : hls?.latency;
  return Number.isFinite(behind) && behind >= 0 && behind < 3600 ? behind : null;
}

setInterval(() => {
  const behind = find("player").dataset.state === "live" ? latency() : null;
  find("latency").hidden = behind === null;
  if (behind !== null) find("latency").textContent = `${behind.toFixed(1)} s behind`;
  find("go-live").hidden = !(hls && latency() > BEHIND_SECONDS);
}, 1000);

find("go-live").addEventListener("click", () => {
  video.currentTime = hls.liveSyncPosition ?? video.currentTime;
  video.play().catch(() => {});
});
find("sound").addEventListener("click", () => {
  video.muted = false;
  find("sound").hidden = true;
});
video.addEventListener("volumechange", () => !video.muted && (find("sound").hidden = true));

// ---- other players

const COMMANDS = [
  ["VLC", `vlc '${base}/live.ts'`, "or paste the address into Media › Open Network Stream"],
  ["ffplay", `ffplay -fflags nobuffer '${base}/live.ts'`],
  ["mpv", `mpv '${base}/live.ts'`],
  ["GStreamer", `gst-play-1.0 '${base}/live.ts'`],
  ["HLS", playlist, "for browsers, phones, televisions"],
  ["RTP, ffplay", `ffplay '${base}/live.sdp'`, "RTP goes to one player, on the machine that runs roomcast"],
  ["RTP, VLC", `vlc --demux avformat '${base}/live.sdp'`],
];

for (const [name, command, note] of COMMANDS) {
  const term = Object.assign(document.createElement("dt"), { textContent: name });
  if (note) term.append(Object.assign(document.createElement("small"), { textContent: ` ${note}` }));
  const details = document.createElement("dd");
  const code = Object.assign(document.createElement("code"), { textContent: command });
  const copy = Object.assign(document.createElement("button"), { type: "button", className: "button small", textContent: "Copy" });
  copy.setAttribute("aria-label", `Copy for ${name}`);
  copy.addEventListener("click", async () => {
    const copied = await navigator.clipboard?.writeText(command).then(() => true, () => false);
    if (!copied) {
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 2000);
  });
  details.append(code, copy);
  find("commands").append(term, details);
}

find("room").textContent = room;
find("join").href = `/?room=${encodeURIComponent(room)}`;
document.title = `${room} · roomcast`;

window.__watch = {
  get state() {
    return find("player").dataset.state;
  },
  get errors() {
    return [...errors];
  },
  get stats() {
    const quality = video.getVideoPlaybackQuality();
    return {
      frames: quality.totalVideoFrames,
      dropped: quality.droppedVideoFrames,
      stalls,
      errors: errors.length,
      latency: latency(),
      time: video.currentTime,
      width: video.videoWidth,
      height: video.videoHeight,
      levels: hls?.levels.map((level) => level.height) ?? [],
    };
  },
};

// The classic script with hls.js is deferred too, so both are there once the document is.
look();
