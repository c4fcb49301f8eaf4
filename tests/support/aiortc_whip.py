"""A WHIP publisher (RFC 9725) on aiortc, written from the RFC: publishes a test picture and a tone until its standard input ends.

Usage: aiortc_whip.py URL [TOKEN]. Prints "connected" when media flows, and the status of its DELETE at the end.
"""

import asyncio
import sys
import urllib.parse
import urllib.request

import av
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import AudioStreamTrack

url, token = sys.argv[1], (sys.argv[2:] or [None])[0]


class Picture(VideoStreamTrack):
    """A bright square that moves over a dark ground."""

    count = 0

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame(320, 180, "yuv420p")
        for plane, value in zip(frame.planes, (60, 128, 128)):
            plane.update(bytes([value]) * plane.buffer_size)
        luma = bytearray(bytes(frame.planes[0]))
        width, left = frame.planes[0].line_size, self.count % 260
        for row in range(60, 120):
            luma[row * width + left:row * width + left + 60] = b"\xe0" * 60
        frame.planes[0].update(bytes(luma))
        self.count += 1
        frame.pts, frame.time_base = pts, time_base
        return frame


def request(method, to, body=None, kind=None):
    headers = {"Content-Type": kind} if kind else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    asked = urllib.request.Request(to, data=body, headers=headers, method=method)
    return urllib.request.urlopen(asked, timeout=10)


async def main():
    connection = RTCPeerConnection()
    connected = asyncio.Event()

    @connection.on("connectionstatechange")
    def changed():
        if connection.connectionState == "connected":
            connected.set()

    connection.addTrack(AudioStreamTrack())
    connection.addTrack(Picture())
    # Gathers completely: its offer is whole, as OBS's is.
    await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp.encode()
    loop = asyncio.get_running_loop()
    answer = await loop.run_in_executor(None, request, "POST", url, offer, "application/sdp")
    assert answer.status == 201, answer.status
    session = urllib.parse.urljoin(url, answer.headers["Location"])
    await connection.setRemoteDescription(RTCSessionDescription(answer.read().decode(), "answer"))
    await asyncio.wait_for(connected.wait(), 20)
    print("connected", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    gone = await loop.run_in_executor(None, request, "DELETE", session)
    print(gone.status, flush=True)
    await connection.close()


asyncio.run(main())
