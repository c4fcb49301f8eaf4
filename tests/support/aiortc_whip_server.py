"""A WHIP endpoint (RFC 9725) on aiortc, written from the RFC: decodes what it is sent.

Usage: aiortc_whip_server.py PORT TOKEN CODEC[,CODEC], where a CODEC is H264 or VP8. The endpoint is /whip. Prints "listening",
"created" and "deleted" as sessions come and go, and each second "decoded FRAMES FLASHES SOUNDS LOUD ERRORS": pictures, those that
became white, pieces of sound, those that were loud, and what the decoders complained about.
"""

import asyncio
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.codecs import CODECS
from aiortc.mediastreams import MediaStreamError

port, token, taken = int(sys.argv[1]), sys.argv[2], sys.argv[3].lower().split(",")
CODECS["video"][:] = [codec for codec in CODECS["video"] if codec.name.lower() in taken + ["rtx"]]
counts = {"frames": 0, "flashes": 0, "sounds": 0, "loud": 0, "errors": 0}
sessions = {}
loop = asyncio.new_event_loop()


class Complaints(logging.Handler):
    def emit(self, record):
        counts["errors"] += "decode" in record.getMessage()


logging.getLogger("aiortc.codecs").addHandler(Complaints())


async def decode(track):
    white = False
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        if track.kind == "video":
            luma = bytes(frame.planes[0])[::101]
            before, white = white, sum(luma) > 180 * len(luma)
            counts["frames"] += 1
            counts["flashes"] += white and not before
        else:
            samples = memoryview(bytes(frame.planes[0])).cast("h")
            counts["sounds"] += 1
            counts["loud"] += max(map(abs, samples)) > 5000


async def accept(offer):
    connection = RTCPeerConnection()
    connection.on("track", lambda track: asyncio.ensure_future(decode(track)))
    try:
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
    except Exception:
        await connection.close()
        raise
    return connection


class Endpoint(BaseHTTPRequestHandler):
    def reply(self, status, body="", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def permitted(self):
        if self.headers.get("Authorization") == f"Bearer {token}":
            return True
        self.reply(401, "not with this token")

    def do_OPTIONS(self):
        self.reply(200, Accept_Post="application/sdp")

    def do_POST(self):
        offer = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if not self.permitted():
            return
        assert "a=sendonly" in offer and "a=recvonly" not in offer and "a=sendrecv" not in offer, offer
        try:
            connection = asyncio.run_coroutine_threadsafe(accept(offer), loop).result(20)
        except Exception as error:
            return self.reply(406, f"{error}")
        sessions["1"] = connection
        print("created", flush=True)
        self.reply(201, connection.localDescription.sdp, Content_Type="application/sdp", Location="sessions/1")

    def do_DELETE(self):
        connection = self.permitted() and sessions.pop(self.path.rpartition("/")[2], None)
        if connection:
            asyncio.run_coroutine_threadsafe(connection.close(), loop).result(20)
            print("deleted", flush=True)
            self.reply(200)

    def log_message(self, *_):
        pass


async def report():
    while True:
        await asyncio.sleep(1)
        print("decoded", *counts.values(), flush=True)


server = ThreadingHTTPServer(("127.0.0.1", port), Endpoint)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("listening", flush=True)
loop.run_until_complete(report())
