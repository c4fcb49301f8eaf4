// One side of a notify call as a page would write it, from the protocol's description alone.
// notify(id, { offer, keep }): offers at once, or waits for an offer; leaves window.call.
window.notify = async (id, { offer, keep = false }) => {
  const stream = await navigator.mediaDevices.getUserMedia({ video: true, audio: true });
  const socket = new WebSocket(`ws://${location.host}/call/${id}`);
  const call = { socket, state: "opening", configuration: null, pc: null };
  window.call = call;
  const say = (message) => socket.send(JSON.stringify(message));
  const notify = (data) => say({ method: "NOTIFY", data });
  const early = [];

  const start = (configuration) => {
    call.configuration = configuration;
    const pc = (call.pc = new RTCPeerConnection(configuration));
    for (const track of stream.getTracks()) pc.addTrack(track, stream);
    pc.onicecandidate = ({ candidate }) => notify(candidate);
    pc.onconnectionstatechange = () => (call.state = pc.connectionState);
  };
  const hear = async (data) => {
    const pc = call.pc;
    if (data === null) return;
    if (data.type === "offer") {
      await pc.setRemoteDescription(data);
      await pc.setLocalDescription();
      notify(pc.localDescription);
    } else if (data.type === "answer") {
      await pc.setRemoteDescription(data);
    } else if ("candidate" in data) {
      await pc.addIceCandidate(data);
    }
  };

  // One after the other: a candidate must not overtake its offer.
  let last = Promise.resolve();
  const inTurn = (work) => (last = last.then(work).catch((error) => console.error(String(error))));
  socket.onopen = () => say({ method: "GET", msg_id: 1, resource: "/peerconnection" });
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.method === "NOTIFY") {
      if (call.pc) inTurn(() => hear(message.data));
      else early.push(message.data);
    } else if (message.code === "success" && message.msg_id === 1) {
      start(message.result.configuration);
      for (const data of early.splice(0)) inTurn(() => hear(data));
      if (offer) {
        inTurn(async () => {
          await call.pc.setLocalDescription();
          notify(call.pc.localDescription);
        });
      }
    }
  };
  socket.onclose = ({ code }) => {
    call.closed = code;
    if (!keep) call.pc?.close();
  };
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve);
    socket.addEventListener("error", () => reject(new Error("the call cannot be entered")));
  });
};
