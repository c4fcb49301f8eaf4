"""GStreamer's simple_server with its habits and its bugs, written from the specification: commands by prefix, a member list that
costs the connection, no answer to what it does not know. TLS with a certificate that nobody trusts when one is given.
"""

import argparse
import asyncio
import random
import ssl

import websockets
from websockets.exceptions import ConnectionClosed

PEERS = {}
ROOMS = {}


class Peer:
    def __init__(self, uid, socket):
        self.uid = uid
        self.socket = socket
        self.partner = None
        self.room = None


async def hello(socket):
    text = await socket.recv()
    if not isinstance(text, str) or not text.startswith("HELLO"):
        await socket.close(1002, "invalid protocol")
        return None
    _, uid = text.split(maxsplit=1)
    if not uid or uid in PEERS or uid.split() != [uid]:
        await socket.close(1002, "invalid peer uid")
        return None
    await socket.send("HELLO")
    return Peer(uid, socket)


async def in_room(peer, text):
    members = ROOMS[peer.room]
    if text.startswith("ROOM_PEER_MSG"):
        _, other, message = text.split(maxsplit=2)
        if other not in PEERS:
            await peer.socket.send(f"ERROR peer {other!r} not found")
        elif PEERS[other].room != peer.room:
            await peer.socket.send(f"ERROR peer {other!r} is not in the room")
        else:
            await PEERS[other].socket.send(f"ROOM_PEER_MSG {peer.uid} {message}")
    elif text == "ROOM_PEER_LIST":
        raise KeyError("a variable that was never set")
    else:
        await peer.socket.send("ERROR invalid msg, already in room")
    return members


async def idle(peer, text):
    if text.startswith("SESSION"):
        _, callee = text.split(maxsplit=1)
        if callee not in PEERS:
            await peer.socket.send(f"ERROR peer {callee!r} not found")
        elif PEERS[callee].partner or PEERS[callee].room:
            await peer.socket.send(f"ERROR peer {callee!r} busy")
        else:
            await peer.socket.send("SESSION_OK")
            peer.partner, PEERS[callee].partner = PEERS[callee], peer
    elif text.startswith("ROOM"):
        _, room = text.split(maxsplit=1)
        if room == "session" or room.split() != [room]:
            return await peer.socket.send(f"ERROR invalid room id {room!r}")
        members = ROOMS.setdefault(room, set())
        names = random.sample(sorted(members), len(members))
        await peer.socket.send("ROOM_OK " + " ".join(names))
        peer.room = room
        for member in names:
            await PEERS[member].socket.send(f"ROOM_PEER_JOINED {peer.uid}")
        members.add(peer.uid)


async def serve(socket, _path=None):
    peer = await hello(socket)
    if peer is None:
        return
    PEERS[peer.uid] = peer
    try:
        async for text in socket:
            if peer.partner:
                await peer.partner.socket.send(text)
            elif peer.room:
                await in_room(peer, text)
            else:
                await idle(peer, text)
    except (ConnectionClosed, ValueError, KeyError, TypeError):
        pass
    finally:
        await socket.close()
        del PEERS[peer.uid]
        if peer.partner:
            peer.partner.partner = None
            await peer.partner.socket.close()
        if peer.room:
            ROOMS[peer.room].discard(peer.uid)
            for member in ROOMS[peer.room]:
                await PEERS[member].socket.send(f"ROOM_PEER_LEFT {peer.uid}")


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    options = parser.parse_args()
    tls = None
    if options.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.cert, options.key)
    async with websockets.serve(serve, "127.0.0.1", 0, ssl=tls, ping_interval=20) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())
