// A participant of GStreamer's text protocol in a browser, written from the specification alone. `gstPeer(url, options)`
// registers as `options.id` and then joins `options.room`, calls `options.call`, or waits to be called. `options.peers` are
// connections that outlived a server.
window.gstPeer = (url, { id, room, call, peers = new Map() }) => {
  const socket = new WebSocket(url);
  const peer = { state: "connecting", said: [], peers, close };
  // In a session messages are bare, in a room they carry the other's name.
  const send = (to, message) => {
    const text = typeof message === "string" ? message : JSON.stringify(message);
    socket.send(room ? `ROOM_PEER_MSG ${to} ${text}` : text);
  };

  async function connection(name) {
    if (peers.has(name)) return peers.get(name);
    const pc = new RTCPeerConnection();
    peers.set(name, pc);
    pc.onicecandidate = ({ candidate }) => candidate && send(name, { ice: candidate });
    return pc;
  }

  async function addMedia(pc) {
    if (pc.getSenders().some((sender) => sender.track)) return;
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
    for (const track of stream.getTracks()) pc.addTrack(track, stream);
  }

  async function offer(name) {
    const pc = await connection(name);
    await pc.setLocalDescription();
    send(name, { sdp: pc.localDescription });
  }

  async function receive(name, text) {
    if (text === "OFFER_REQUEST") {
      await addMedia(await connection(name));
      return offer(name);
    }
    const { sdp, ice } = JSON.parse(text);
    const pc = await connection(name);
    if (ice) return pc.addIceCandidate(ice);
    await pc.setRemoteDescription(sdp);
    if (sdp.type === "offer") {
      await addMedia(pc);
      await pc.setLocalDescription();
      send(name, { sdp: pc.localDescription });
    } else if (!room && call && !pc.getSenders().some((sender) => sender.track)) {
      // GStreamer's page opens with a data channel alone, and offers its media in a second round.
      await addMedia(pc);
      await offer(name);
    }
  }

  async function hear(text) {
    const [word, ...rest] = text.split(" ");
    if (peer.state === "session") return receive(call ?? "caller", text);
    if (text.startsWith("ERROR")) throw new Error(text);
    switch (word) {
      case "HELLO":
        peer.state = "registered";
        if (room) socket.send(`ROOM ${room}`);
        else if (call) socket.send(`SESSION ${call}`);
        break;
      case "ROOM_OK":
        peer.state = "room";
        for (const name of rest.filter(Boolean)) {
          // A connection that outlived the server needs no offer.
          if (peers.has(name)) continue;
          await addMedia(await connection(name));
          await offer(name);
        }
        break;
      case "ROOM_PEER_JOINED":
        break;
      case "ROOM_PEER_LEFT":
        peers.get(rest[0])?.close();
        peers.delete(rest[0]);
        break;
      case "ROOM_PEER_MSG":
        await receive(rest[0], rest.slice(1).join(" "));
        break;
      case "SESSION_OK":
        peer.state = "session";
        (await connection(call)).createDataChannel("first");
        await offer(call);
        break;
      default:
        if (peer.state !== "registered" || room || call) throw new Error(`what is ${text}?`);
        peer.state = "session";
        await receive("caller", text);
    }
  }

  function close() {
    socket.close();
    for (const pc of peers.values()) pc.close();
    peers.clear();
  }

  // One after the other: a candidate must not overtake the description it belongs to.
  let queue = Promise.resolve();
  socket.onopen = () => socket.send(`HELLO ${id}`);
  socket.onclose = ({ code }) => (peer.state = `closed ${code}`);
  socket.onmessage = ({ data }) => {
    peer.said.push(data.slice(0, 80));
    queue = queue.then(() => hear(data)).catch((error) => peer.said.push((peer.error = String(error))));
  };
  return peer;
};
