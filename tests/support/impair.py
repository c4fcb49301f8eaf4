#!/usr/bin/env python3
"""A bad piece of wire: passes Ethernet frames between two interfaces, and loses, delays, doubles and reorders them.

Where the kernel has no netem. Usage: impair.py LEFT RIGHT key=value ... with loss=PERCENT, burst=FRAMES (lost together), delay=MS,
jitter=MS (uniform, each frame on its own: later frames overtake), duplicate=PERCENT, rate=KBIT (of each direction; 0 is no limit),
queue=MS (what waits there before frames are thrown away), type_delay=MS (more, for RTP of the payload type type=NUMBER: one of two media
on a longer way), seed=NUMBER. Writes "ready", and a line of counters for each direction when its standard input ends. A line of
key=value on standard input changes the settings, "count" asks for the counters.
"""
import heapq, json, os, random, select, socket, sys, time

settings = dict(loss=0.0, burst=1, delay=0.0, jitter=0.0, duplicate=0.0, rate=0.0, queue=200.0, seed=1, type=-1, type_delay=0.0)


def change(words):
    for word in words:
        key, value = word.split("=")
        settings[key] = type(settings[key])(float(value))


left, right = sys.argv[1:3]
change(sys.argv[3:])
chance = random.Random(settings["seed"])
sockets = []
for interface in (left, right):
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    wire.bind((interface, 0))
    wire.setblocking(False)
    sockets.append(wire)
counts = [dict(passed=0, bytes=0, lost=0, doubled=0, queue_full=0) for _ in sockets]
waiting, number, losing, free_at, said = [], 0, [0, 0], [0.0, 0.0], b""
print("ready", flush=True)
poll = select.poll()
for wire in [*sockets, sys.stdin]:
    poll.register(wire, select.POLLIN)


def payload_type(frame):
    """Of RTP in UDP in IPv4 without options (RFC 3550, section 5.1); its encryption leaves the header readable."""
    is_rtp = len(frame) > 54 and frame[12:15] == b"\x08\x00\x45" and frame[23] == 17 and frame[42] >> 6 == 2
    return frame[43] & 0x7F if is_rtp else None


def take(side, frame, now):
    global number
    count = counts[side]
    if losing[side] == 0 and chance.random() * 100 < settings["loss"] / settings["burst"]:
        losing[side] = settings["burst"]
    if losing[side]:
        losing[side] -= 1
        count["lost"] += 1
        return
    due = now
    if settings["rate"]:
        due = free_at[side] = max(now, free_at[side]) + len(frame) * 8 / (settings["rate"] * 1000)
        if due - now > settings["queue"] / 1000:
            free_at[side] -= len(frame) * 8 / (settings["rate"] * 1000)
            count["queue_full"] += 1
            return
    copies = 1
    if chance.random() * 100 < settings["duplicate"]:
        copies = 2
        count["doubled"] += 1
    for _ in range(copies):
        number += 1
        later = (settings["delay"] + chance.random() * settings["jitter"]) / 1000
        if payload_type(frame) == settings["type"]:
            later += settings["type_delay"] / 1000
        heapq.heappush(waiting, (due + later, number, 1 - side, frame))


while True:
    wait = max(0.0, waiting[0][0] - time.monotonic()) * 1000 if waiting else 1000
    for descriptor, _ in poll.poll(wait):
        if descriptor == sys.stdin.fileno():
            more = os.read(descriptor, 4096)
            if not more:
                print(json.dumps(counts), flush=True)
                sys.exit()
            *lines, said = (said + more).split(b"\n")
            for line in lines:
                if line == b"count":
                    print(json.dumps(counts), flush=True)
                else:
                    change(line.decode().split())
            continue
        side = 0 if descriptor == sockets[0].fileno() else 1
        while True:
            try:
                frame, address = sockets[side].recvfrom(65535)
            except BlockingIOError:
                break
            except OSError:
                sys.exit()  # One of the networks is gone: the test is over.
            # What we send ourselves comes by here as well.
            if address[2] != socket.PACKET_OUTGOING:
                take(side, frame, time.monotonic())
    now = time.monotonic()
    while waiting and waiting[0][0] <= now:
        _, _, to, frame = heapq.heappop(waiting)
        try:
            sockets[to].send(frame)
            counts[1 - to]["passed"] += 1
            counts[1 - to]["bytes"] += len(frame)
        except OSError:
            counts[1 - to]["queue_full"] += 1
