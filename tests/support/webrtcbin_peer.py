"""A camera and a microphone behind GStreamer's webrtcbin that speak GStreamer's text protocol, written from its specification.

It registers as ID at URL and then joins a room (--room), or waits to be called. It offers VP8 and Opus to whom it meets as a
newcomer, or when it is asked to; it answers offers. Packages: python3-gi, python3-websockets, gir1.2-gst-plugins-bad-1.0,
gstreamer1.0-nice.
"""

import argparse
import asyncio
import json
import ssl
import sys

import gi
import websockets

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import Gst, GstSdp, GstWebRTC  # noqa: E402

PIPELINE = """
webrtcbin name=webrtc bundle-policy=max-bundle
videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=15/1
  ! vp8enc deadline=1 cpu-used=8 keyframe-max-dist=15 ! rtpvp8pay pt={vp8} ! application/x-rtp,media=video,encoding-name=VP8,payload={vp8} ! queue ! webrtc.
audiotestsrc is-live=true wave=ticks
  ! audioconvert ! audioresample ! opusenc ! rtpopuspay pt={opus} ! application/x-rtp,media=audio,encoding-name=OPUS,payload={opus} ! queue ! webrtc.
"""


class Connection:
    """One webrtcbin, towards one peer. `send` takes a payload as a dict."""

    def __init__(self, send, payloads):
        self.loop = asyncio.get_running_loop()
        self.send = send
        self.pipeline = Gst.parse_launch(PIPELINE.format(**payloads))
        self.webrtc = self.pipeline.get_by_name("webrtc")
        # Everybody is on this machine, which may have no other network. The agent has to be kept: webrtcbin 1.22 holds a
        # floating reference to it, which Python takes for its own.
        self.agent = self.webrtc.get_property("ice-agent")
        self.agent.emit("add-local-ip-address", "127.0.0.1")
        self.webrtc.connect("on-ice-candidate", self.on_candidate)
        self.webrtc.connect("pad-added", self.on_pad)

    def start(self):
        self.pipeline.set_state(Gst.State.PLAYING)

    def close(self):
        self.pipeline.set_state(Gst.State.NULL)

    def on_candidate(self, _webrtc, index, candidate):
        message = {"ice": {"candidate": candidate, "sdpMLineIndex": index}}
        self.loop.call_soon_threadsafe(self.send, message)

    def on_pad(self, _webrtc, pad):
        """What others send is thrown away."""
        sink = Gst.ElementFactory.make("fakesink")
        self.pipeline.add(sink)
        sink.set_property("sync", False)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    async def ask(self, signal, *arguments):
        """Emits a signal that takes a promise last, and waits for its reply."""
        future = self.loop.create_future()
        promise = Gst.Promise.new_with_change_func(
            lambda promise: self.loop.call_soon_threadsafe(future.set_result, promise.get_reply())
        )
        self.webrtc.emit(signal, *arguments, promise)
        return await future

    async def describe(self, kind):
        reply = await self.ask(f"create-{kind}", None)
        description = reply.get_value(kind)
        await self.ask("set-local-description", description)
        self.send({"sdp": {"type": kind, "sdp": description.sdp.as_text()}})

    async def offer(self):
        needed = asyncio.Event()
        self.webrtc.connect("on-negotiation-needed", lambda _: self.loop.call_soon_threadsafe(needed.set))
        self.start()
        await needed.wait()
        await self.describe("offer")

    async def set_remote(self, kind, text):
        _, message = GstSdp.SDPMessage.new_from_text(text)
        kind = {"offer": GstWebRTC.WebRTCSDPType.OFFER, "answer": GstWebRTC.WebRTCSDPType.ANSWER}[kind]
        await self.ask("set-remote-description", GstWebRTC.WebRTCSessionDescription.new(kind, message))


def payload_types(sdp):
    """The numbers that an offer gives to VP8 and Opus: an answer has to use them."""
    numbers = {}
    for line in sdp.splitlines():
        if line.startswith("a=rtpmap:"):
            number, name = line[len("a=rtpmap:") :].split()
            numbers.setdefault(name.split("/")[0].lower(), number)
    return {"vp8": numbers["vp8"], "opus": numbers["opus"]}


class Peer:
    def __init__(self, socket, room):
        self.socket = socket
        self.room = room
        self.in_session = False
        self.connections = {}

    def send_to(self, name):
        def send(payload):
            text = json.dumps(payload)
            message = f"ROOM_PEER_MSG {name} {text}" if self.room else text
            self.connections[name].sending = asyncio.ensure_future(self.socket.send(message))

        return send

    def connect(self, name, payloads):
        self.connections[name] = Connection(self.send_to(name), payloads)
        return self.connections[name]

    async def offer(self, name):
        await self.connect(name, {"vp8": 96, "opus": 97}).offer()

    async def relayed(self, name, text):
        if text == "OFFER_REQUEST":
            return await self.offer(name)
        message = json.loads(text)
        if "ice" in message:
            if name in self.connections:
                ice = message["ice"]
                self.connections[name].webrtc.emit("add-ice-candidate", ice["sdpMLineIndex"], ice["candidate"])
            return
        kind, sdp = message["sdp"]["type"], message["sdp"]["sdp"]
        if kind == "answer":
            return await self.connections[name].set_remote(kind, sdp)
        connection = self.connect(name, payload_types(sdp))
        connection.start()
        await connection.set_remote(kind, sdp)
        await connection.describe("answer")

    async def run(self, name):
        await self.socket.send(f"HELLO {name}")
        async for text in self.socket:
            word, _, rest = text.partition(" ")
            if self.in_session:
                await self.relayed("", text)
            elif word == "HELLO":
                if self.room:
                    await self.socket.send(f"ROOM {self.room}")
                print("registered", flush=True)
            elif word == "ROOM_OK":
                for peer in rest.split():
                    await self.offer(peer)
            elif word == "ROOM_PEER_LEFT":
                if rest in self.connections:
                    self.connections.pop(rest).close()
            elif word == "ROOM_PEER_MSG":
                await self.relayed(*rest.split(maxsplit=1))
            elif word == "ERROR":
                sys.exit(text)
            elif word != "ROOM_PEER_JOINED":
                self.in_session = True
                await self.relayed("", text)


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("id")
    parser.add_argument("--room")
    options = parser.parse_args()
    Gst.init(None)
    tls = None
    if options.url.startswith("wss"):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    async with websockets.connect(options.url, ssl=tls) as socket:
        await Peer(socket, options.room).run(options.id)


asyncio.run(main())
