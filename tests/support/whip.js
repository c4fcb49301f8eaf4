// A WHIP publisher and a WHEP player as a page writes them: offer by POST, candidates and ICE restarts by PATCH, end by
// DELETE. `window.whip(url, options)` and `window.whep(url, options)` resolve with a session.
(() => {
  const SDP = "application/sdp";
  const FRAGMENT = "application/trickle-ice-sdpfrag";

  async function negotiate(pc, url, { token, trickle = true } = {}) {
    const authorization = token ? { Authorization: `Bearer ${token}` } : {};
    const found = [];
    const session = { pc, location: "", etag: "", patches: [] };
    const value = (name) => new RegExp(`^a=${name}:(.*)$`, "m").exec(pc.localDescription.sdp)[1].trim();
    const patch = async (candidates, ifMatch = session.etag) => {
      const lines = candidates.map(({ candidate }) => `a=${candidate}`);
      const body = [`a=ice-ufrag:${value("ice-ufrag")}`, `a=ice-pwd:${value("ice-pwd")}`, "m=audio 9 UDP/TLS/RTP/SAVPF 0",
        `a=mid:${pc.getTransceivers()[0].mid}`, ...lines, ""].join("\r\n");
      const headers = { ...authorization, "Content-Type": FRAGMENT, "If-Match": ifMatch };
      const answer = await fetch(session.location, { method: "PATCH", headers, body });
      session.patches.push(answer.status);
      return answer;
    };
    pc.onicecandidate = ({ candidate }) => {
      if (!candidate?.candidate) return;
      if (session.etag) patch([candidate]);
      else found.push(candidate);
    };
    await pc.setLocalDescription();
    const complete = new Promise((resolve) => {
      const look = () => pc.iceGatheringState === "complete" && resolve();
      pc.addEventListener("icegatheringstatechange", look);
      look();
    });
    if (!trickle) await complete;
    // As it was before candidates came, so that they must be sent one by one.
    const body = trickle ? pc.localDescription.sdp.replace(/^a=(candidate:|end-of-candidates).*\r\n/gm, "") : pc.localDescription.sdp;
    const answer = await fetch(url, { method: "POST", headers: { ...authorization, "Content-Type": SDP }, body });
    const text = await answer.text();
    if (answer.status !== 201) throw new Error(`${answer.status} ${text}`);
    session.location = new URL(answer.headers.get("Location"), answer.url).href;
    session.etag = answer.headers.get("ETag");
    session.answer = text;
    await pc.setRemoteDescription({ type: "answer", sdp: text });
    if (trickle && found.length > 0) await patch(found);
    session.restart = async () => {
      const before = pc.remoteDescription.sdp;
      const own = [];
      const gathered = new Promise((resolve) => {
        pc.onicecandidate = ({ candidate }) => (candidate ? candidate.candidate && own.push(candidate) : resolve());
      });
      await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
      await gathered;
      const answer = await patch(own, "*");
      if (answer.status !== 200) throw new Error(`${answer.status} ${await answer.text()}`);
      session.etag = answer.headers.get("ETag");
      const fragment = await answer.text();
      const theirs = (name) => new RegExp(`^a=${name}:(.*)$`, "m").exec(fragment)[1].trim();
      const candidates = fragment.match(/^a=candidate:.*$/gm).map((line) => `${line.trim()}\r\n`);
      const sections = before.replace(/^a=(candidate:|end-of-candidates).*\r\n/gm, "")
        .replace(/^a=ice-ufrag:.*$/gm, `a=ice-ufrag:${theirs("ice-ufrag")}\r`)
        .replace(/^a=ice-pwd:.*$/gm, `a=ice-pwd:${theirs("ice-pwd")}\r`).replace(/\r+\n/g, "\r\n").split(/^(?=m=)/m);
      sections[1] += candidates.join("");
      await pc.setRemoteDescription({ type: "answer", sdp: sections.join("") });
      return session.etag;
    };
    session.stop = async () => {
      const answer = await fetch(session.location, { method: "DELETE", headers: authorization });
      pc.close();
      return answer.status;
    };
    return session;
  }

  function prefer(transceiver, codec) {
    const { codecs } = RTCRtpSender.getCapabilities("video");
    const wanted = codecs.filter(({ mimeType, sdpFmtpLine = "" }) =>
      mimeType.toLowerCase() === `video/${codec}` && !sdpFmtpLine.includes("packetization-mode=0"));
    transceiver.setCodecPreferences(wanted);
  }

  window.whip = async (url, options = {}) => {
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: options.video ?? true });
    for (const track of stream.getTracks()) {
      // In layers, as conference pages send: a quarter, half and all of the picture's size.
      const layers = [["q", 4], ["h", 2], ["f", 1]].map(([rid, scaleResolutionDownBy]) => ({ rid, scaleResolutionDownBy }));
      const sendEncodings = options.simulcast && track.kind === "video" ? layers : undefined;
      const transceiver = pc.addTransceiver(track, { direction: "sendonly", streams: [stream], sendEncodings });
      if (track.kind === "video" && options.codec) prefer(transceiver, options.codec);
    }
    return negotiate(pc, url, options);
  };

  window.whep = async (url, options = {}) => {
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const video = Object.assign(document.createElement("video"), { autoplay: true });
    video.srcObject = new MediaStream();
    (document.body ?? document.documentElement).append(video);
    pc.ontrack = ({ track }) => video.srcObject.addTrack(track);
    pc.addTransceiver("audio", { direction: "recvonly" });
    pc.addTransceiver("video", { direction: "recvonly" });
    const session = await negotiate(pc, url, options);
    session.video = video;
    session.inbound = async () => {
      const stats = [...(await pc.getStats()).values()];
      const of = (kind) => stats.find((one) => one.type === "inbound-rtp" && one.kind === kind) ?? {};
      const codec = stats.find(({ id }) => id === of("video").codecId)?.mimeType ?? "";
      return { codec, frames: of("video").framesDecoded ?? 0, samples: of("audio").totalSamplesReceived ?? 0,
        loud: of("audio").totalAudioEnergy ?? 0, width: of("video").frameWidth ?? 0 };
    };
    return session;
  };
})();
