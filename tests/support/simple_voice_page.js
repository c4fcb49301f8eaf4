// One side of a Simple Voice call as a page would write it, from the protocol's description alone.
// simpleVoice(room) joins with an offer in hand, as first or as second; leaves window.call.
window.simpleVoice = async (room, { upload = false } = {}) => {
  const stream = await navigator.mediaDevices.getUserMedia({ video: true, audio: true });
  const call = { room, state: "new", pc: null, id: null, role: null, polls: 0 };
  window.call = call;
  const post = async (act, parameters) => {
    const response = await fetch(`/sv/${act}`, { method: "POST", body: new URLSearchParams(parameters) });
    const text = await response.text();
    const reply = text ? JSON.parse(text) : {};
    if (reply.type && reply.msg) throw new Error(reply.type);
    return reply;
  };
  const connection = () => {
    const pc = new RTCPeerConnection();
    for (const track of stream.getTracks()) pc.addTrack(track, stream);
    pc.onconnectionstatechange = () => (call.state = pc.connectionState);
    return (call.pc = pc);
  };
  // No trickle: the description goes out with all its candidates.
  const complete = async (pc) => {
    await pc.setLocalDescription();
    while (pc.iceGatheringState !== "complete") {
      await new Promise((resolve) => pc.addEventListener("icegatheringstatechange", resolve, { once: true }));
    }
    return JSON.stringify(pc.localDescription);
  };
  call.leave = async () => {
    call.pc.close();
    await fetch("/sv/leave", { method: "POST", body: new URLSearchParams({ client_id: call.id, room }) });
  };

  let pc = connection();
  const joined = await post("join", upload ? { room } : { room, data: await complete(pc) });
  call.id = joined.ID;
  if (joined.data) {
    call.role = "second";
    pc.close();
    pc = connection();
    await pc.setRemoteDescription(joined.data);
    await post("answer", { client_id: call.id, data: await complete(pc) });
    return;
  }
  call.role = "first";
  if (upload) await post("offer", { client_id: call.id, data: await complete(pc) });
  const poll = async () => {
    for (;;) {
      call.polls += 1;
      const reply = await post("get_answer", { client_id: call.id });
      if (reply.data) return pc.setRemoteDescription(reply.data);
    }
  };
  poll().catch((error) => (call.error = error.message));
};
