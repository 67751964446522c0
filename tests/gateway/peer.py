#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The ends of the connections that test_gateway.py makes. One program, so that both sides agree on what is sent.

peer.py serve ADDRESS PORT        TCP: a line "put N", "get N SEED", "half" or "echo", see serve_one(); prints "serving"
peer.py put|get|half HOST PORT [N [SEED]]   prints the sha256 of what was received or sent and the longest pause, seconds
peer.py many HOST PORT COUNT      so many connections at a time, each echoes 4 KiB; prints how many were right
peer.py udp ADDRESS PORT          echoes datagrams; prints "serving"
peer.py ask HOST PORT N...        a datagram of each size; prints for each whether it came back as it was
"""
import asyncio
import hashlib
import random
import socket
import sys
import threading
import time

CHUNK = 1 << 18


def stream(n, seed):
    """n bytes that depend on the seed."""
    dice = random.Random(seed)
    while n:
        part = dice.randbytes(min(n, CHUNK))
        n -= len(part)
        yield part


def receive(sock, n=None):
    """Bytes until the end or until n came: sha256 and the longest pause."""
    digest, longest, last = hashlib.sha256(), 0, time.monotonic()
    while n is None or n:
        part = sock.recv(CHUNK if n is None else min(CHUNK, n))
        if not part:
            break
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        digest.update(part)
        if n is not None:
            n -= len(part)
    return digest.hexdigest(), longest


def send(sock, n, seed):
    digest, longest = hashlib.sha256(), 0
    for part in stream(n, seed):
        digest.update(part)
        view = memoryview(part)
        while view:
            before = time.monotonic()
            view = view[sock.send(view):]
            longest = max(longest, time.monotonic() - before)
    return digest.hexdigest(), longest


def serve_one(sock):
    """put: takes N bytes and answers their sha256. get: sends N. half: reads to the end, then answers. echo: 4 KiB."""
    with sock:
        line = b""
        while not line.endswith(b"\n"):
            byte = sock.recv(1)
            if not byte:
                return
            line += byte
        what, *numbers = line.split()
        if what == b"put":
            sock.sendall(receive(sock, int(numbers[0]))[0].encode())
        elif what == b"get":
            send(sock, int(numbers[0]), int(numbers[1]))
        elif what == b"half":
            sock.sendall(receive(sock)[0].encode())
        elif what == b"echo":
            sock.sendall(sock.recv(4096, socket.MSG_WAITALL))


def serve_quietly(sock):
    try:
        serve_one(sock)
    except ConnectionError:
        pass  # the other side has seen enough, and says so


def serve(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(4096)
        print("serving", flush=True)
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve_quietly, args=(sock,), daemon=True).start()


def client(what, host, port, n=0, seed=0):
    with socket.create_connection((host, port), timeout=60) as sock:
        if what == "get":
            sock.sendall(b"get %d %d\n" % (n, seed))
            print(*receive(sock))
            return
        sock.sendall(b"half\n" if what == "half" else b"put %d\n" % n)
        digest, longest = send(sock, n, seed)
        if what == "half":
            sock.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: sock.recv(64), b"")).decode()
        print(answer if answer == digest else f"sent {digest}, arrived {answer}", longest)


async def one(host, port, i, gate):
    reader, writer = await asyncio.open_connection(host, port)
    body = random.Random(i).randbytes(4096)
    writer.write(b"echo\n")
    await gate.wait()  # all are open before the first goes on
    writer.write(body)
    await writer.drain()
    right = await reader.read(-1) == body
    writer.close()
    return right


async def many(host, port, count):
    gate = asyncio.Barrier(count)
    done = await asyncio.gather(*(one(host, port, i, gate) for i in range(count)), return_exceptions=True)
    print(sum(d is True for d in done), *{repr(d) for d in done if d is not True})


def udp(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.bind((address, port))
        print("serving", flush=True)
        while True:
            data, asked, _, peer = sock.recvmsg(65536, 64)
            sock.sendmsg([data], asked, 0, peer)  # from the address that was asked


def ask(host, port, sizes):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        sock.connect((host, port))
        for n in sizes:
            data = random.Random(n).randbytes(n)
            try:
                sock.send(data)
                print(n, sock.recv(65536) == data)
            except OSError as e:
                print(n, type(e).__name__)


if __name__ == "__main__":
    verb, where, number, *rest = sys.argv[1:]
    rest = [int(r) for r in rest]
    if verb in ("serve", "udp"):
        globals()[verb](where, int(number))
    elif verb == "many":
        asyncio.run(many(where, int(number), *rest))
    elif verb == "ask":
        ask(where, int(number), rest)
    else:
        client(verb, where, int(number), *rest)
