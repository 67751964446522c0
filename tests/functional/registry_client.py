# SPDX-License-Identifier: Apache-2.0
"""The other side of src/image/fetch.h, so that msb-registry can be tested by itself."""
import array
import os
import pathlib
import socket
import struct
import subprocess
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("MSB_BUILD", TOP / "build")) / "msb-registry"

HEAD, MANIFEST, BLOB = 1, 2, 3
INFO, NOTE, BYTES, END, FAILED, STORED = 1, 2, 3, 4, 5, 6
CODES = ["none", "internal", "system", "no_memory", "usage", "invalid", "not_found", "exists", "permission",
         "unsupported", "protocol", "limit", "timeout", "closed"]


def text(raw):
    return raw.split(b"\0")[0].decode()


class Answer:
    """notes, info (None or a dict), data, stored (how far the file goes), and code ("none": END came), text, hint."""

    def __init__(self):
        self.notes, self.info, self.data, self.stored = [], None, bytearray(), None
        self.code = self.text = self.hint = None

    def __repr__(self):
        return (f"{self.code}: {self.text!r} → {self.hint!r}; {len(self.data)} bytes; info {self.info}; "
                f"notes {self.notes}")


class Channel:
    def __init__(self, serve):
        self.socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(90)
        serve.control.sendmsg([b"c"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [other.fileno()]))])
        other.close()

    def close(self):
        self.socket.close()

    def read(self, n):
        out = bytearray()
        while len(out) < n:
            piece = self.socket.recv(n - len(out))
            assert piece, "msb-registry closed the channel"
            out += piece
        return bytes(out)

    def ask(self, kind, name, offset=0, size=0, files=()):
        """files: descriptors that come with the request; at most one is of use."""
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        self.socket.sendmsg([struct.pack("=IIQQ256s", kind, 0, offset, size, name.encode())], passed)

    def frame(self):
        kind, length = struct.unpack("=II", self.read(8))
        assert length <= 256 << 10, length
        return kind, self.read(length)

    def answer(self):
        out = Answer()
        while True:
            kind, body = self.frame()
            if kind == NOTE:
                out.notes.append(body.decode())
            elif kind == INFO:
                assert out.info is None and not out.data, "INFO twice, or after BYTES"
                size, digest, media_type, source = struct.unpack("=Q80s128s256s", body)
                out.info = {"size": None if size == 2**64 - 1 else size, "digest": text(digest),
                            "type": text(media_type), "source": text(source)}
            elif kind == BYTES:
                assert out.info is not None and body
                out.data += body
            elif kind == STORED:
                (at,) = struct.unpack("=Q", body)
                assert out.info is not None and not out.data and at > (out.stored or 0)
                out.stored = at
            elif kind == END:
                assert not body and out.info is not None
                out.code = "none"
                return out
            else:
                assert kind == FAILED
                code, zero, message, hint = struct.unpack("=Ii480s160s", body)
                out.code, out.text, out.hint = CODES[code], text(message), text(hint)
                assert zero == 0 and out.text
                return out

    def __call__(self, kind, name, offset=0, size=0, files=()):
        self.ask(kind, name, offset, size, files)
        return self.answer()


class Serve:
    """msb-registry serve. options: before MSB_HOME; env: added to a clean one."""

    def __init__(self, home, reference, *options, env=None, prefix=()):
        self.control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        clean = {k: v for k, v in os.environ.items() if k.lower() not in (
            "http_proxy", "https_proxy", "all_proxy", "no_proxy", "docker_config", "msb_config_path", "ssl_cert_file")}
        self.process = subprocess.Popen(
            [*prefix, "bash", "-c", 'exec 3<&$1; shift; exec "$@"', "bash", str(other.fileno()), PROGRAM, "serve",
             *options, home, reference], env={**clean, "HOME": str(home), **(env or {})}, pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        other.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.control.close()
        began = time.monotonic()
        try:
            self.stderr = self.process.communicate(timeout=20)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.stderr = self.process.communicate()[1]
            raise
        self.ended_after = time.monotonic() - began
        self.status = self.process.returncode

    def channel(self):
        return Channel(self)

    def __call__(self, kind, name, offset=0, size=0):
        """One request on a channel of its own."""
        channel = Channel(self)
        try:
            return channel(kind, name, offset, size)
        finally:
            channel.close()

    def memory_kib(self):
        """The most it ever had in RAM of its own: without the pages of shared libraries."""
        with open(f"/proc/{self.process.pid}/status") as f:
            fields = dict(line.split(":", 1) for line in f)
        return {k: int(fields[k].split()[0]) for k in ("VmHWM", "RssAnon", "RssFile")}


def ask(home, reference, kind, name, *options, offset=0, size=0, env=None, prefix=()):
    """One process, one request."""
    with Serve(home, reference, *options, env=env, prefix=prefix) as serve:
        out = serve(kind, name, offset, size)
    assert serve.status == 0, serve.stderr
    out.stderr = serve.stderr
    return out
