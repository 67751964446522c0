# SPDX-License-Identifier: Apache-2.0
"""Registries to pull from, on loopback: Debian's docker-registry, and one of our own that misbehaves on request.

    with DebianRegistry(folder, tls=certs.good, users={"ann": "secret"}) as r:     # r.host is "127.0.0.1:PORT"
    with Peer() as p:
        digest = p.add_blob(data); p.add_image("team/app", "1", [layer_tar])
        p.fault("/blobs/" + digest, cut(1 << 20), times=3)
        ...
        p.seen                      # every request: .method .path .headers .sent (bytes of body written)

Every server is a context manager; ports are chosen by the kernel, so tests may run side by side.
"""
import base64
import collections
import gzip
import hashlib
import http.server
import json
import os
import pathlib
import re
import select
import shutil
import socket
import socketserver
import ssl
import struct
import subprocess
import tarfile
import threading
import urllib.parse
import urllib.request

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


# ---- certificates -------------------------------------------------------------------------------------------------

Pair = collections.namedtuple("Pair", "cert key")


class Certificates:
    """A CA (ca) and server certificates of it: good (127.0.0.1, localhost), expired, other_host; and self_signed."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca = self.folder / "ca.pem"
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                      "-subj", "/CN=Test CA", "-keyout", self.folder / "ca.key", "-out", self.ca)
        local = "IP:127.0.0.1,IP:127.0.0.2,IP:::1,DNS:localhost"
        self.good = self._leaf("good", local)
        self.expired = self._leaf("expired", local, expired=True)
        self.other_host = self._leaf("other_host", "DNS:elsewhere.example")
        self.self_signed = Pair(self.folder / "self.pem", self.folder / "self.key")
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                      "-subj", "/CN=127.0.0.1", "-addext", f"subjectAltName={local}", "-keyout", self.self_signed.key,
                      "-out", self.self_signed.cert)

    def _openssl(self, *args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)

    def _leaf(self, name, names, expired=False):
        pair, csr = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key"), self.folder / f"{name}.csr"
        ext = self.folder / f"{name}.ext"
        ext.write_text(f"subjectAltName={names}\n")
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                      "-keyout", pair.key, "-out", csr)
        # A negative number of days: the certificate ended before it began.
        self._openssl("x509", "-req", "-in", csr, "-CA", self.ca, "-CAkey", self.folder / "ca.key", "-CAcreateserial",
                      "-days", "-1" if expired else "30", "-extfile", ext, "-out", pair.cert)
        return pair


# ---- Debian's docker-registry -------------------------------------------------------------------------------------

class DebianRegistry:
    """docker-registry on 127.0.0.1. tls: a Pair; users: {name: password} (htpasswd); token: its section auth.token."""

    def __init__(self, folder, tls=None, users=None, token=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tls, self.users = tls, users
        lines = ["version: 0.1", "log:", "  level: info", "  accesslog:", "    disabled: true", "storage:",
                 "  delete:", "    enabled: true", "  filesystem:", f"    rootdirectory: {self.folder}/data", "http:",
                 "  addr: 127.0.0.1:0"]
        if tls:
            lines += ["  tls:", f"    certificate: {tls.cert}", f"    key: {tls.key}"]
        if users:
            book = self.folder / "htpasswd"
            book.write_text("")
            for name, password in users.items():
                subprocess.run(["htpasswd", "-iB", "-C", "4", book, name], input=password, text=True, check=True,
                               capture_output=True)
            lines += ["auth:", "  htpasswd:", "    realm: tests", f"    path: {book}"]
        if token:
            lines += ["auth:", "  token:"] + [f"    {k}: {v}" for k, v in token.items()]
        (self.folder / "config.yml").write_text("\n".join(lines) + "\n")

    def __enter__(self):
        program = shutil.which("docker-registry") or "/usr/bin/docker-registry"
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen([program, "serve", self.folder / "config.yml"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)
        said = b""
        while True:
            line = self.process.stderr.readline()
            said += line
            m = re.search(rb"listening on 127\.0\.0\.1:(\d+)", line)
            if m:
                break
            assert line, f"docker-registry ended: {said.decode()}"
        self.port = int(m.group(1))
        self.host = f"127.0.0.1:{self.port}"
        self.drain = threading.Thread(target=self._keep_log, daemon=True)
        self.drain.start()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        self.drain.join(20)
        self.process.stderr.close()
        self.log.close()

    def _keep_log(self):
        for line in self.process.stderr:
            self.log.write(line)
            self.log.flush()

    def _request(self, method, path, body=None, headers=()):
        scheme = "https" if self.tls else "http"
        url = path if "://" in path else f"{scheme}://{self.host}{path}"
        request = urllib.request.Request(url, data=body, method=method, headers=dict(headers))
        if self.users:
            name, password = next(iter(self.users.items()))
            request.add_header("Authorization", basic(name, password))
        context = ssl._create_unverified_context() if self.tls else None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}),
                                             urllib.request.HTTPSHandler(context=context))
        with opener.open(request, timeout=30) as answer:
            return answer.read(), answer.headers

    def push_blob(self, repository, data):
        _, headers = self._request("POST", f"/v2/{repository}/blobs/uploads/", b"")
        where = headers["Location"]
        where += ("&" if "?" in where else "?") + "digest=" + urllib.parse.quote(digest_of(data))
        self._request("PUT", where, data, {"Content-Type": "application/octet-stream"})
        return digest_of(data)

    def push_manifest(self, repository, name, data, media_type=OCI_MANIFEST):
        self._request("PUT", f"/v2/{repository}/manifests/{name}", data, {"Content-Type": media_type})
        return digest_of(data)

    def push_image(self, repository, tag, layers, config=None):
        """layers: uncompressed tars. Return: the manifest's digest."""
        manifest, blobs = make_image(layers, config)
        for blob in blobs:
            self.push_blob(repository, blob)
        return self.push_manifest(repository, tag, manifest)

    def push_archive(self, archive, repository, tag):
        """By skopeo, from a docker archive or an OCI one."""
        with tarfile.open(archive) as tar:
            form = "docker-archive" if "manifest.json" in tar.getnames() else "oci-archive"
        command = ["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]
        if self.users:
            command += ["--dest-creds", ":".join(next(iter(self.users.items())))]
        subprocess.run([*command, f"{form}:{archive}", f"docker://{self.host}/{repository}:{tag}"], check=True,
                       stdout=subprocess.DEVNULL)


def basic(name, password):
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def make_image(layers, config=None, compress=gzip.compress, layer_type=OCI_LAYER):
    """An OCI image of uncompressed tars. Return: manifest bytes, [config, layer blobs...]."""
    blobs = [compress(layer) for layer in layers]
    body = json.dumps({"architecture": "amd64", "os": "linux", "config": config or {},
                       "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}}).encode()
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST,
                "config": {"mediaType": OCI_CONFIG, "digest": digest_of(body), "size": len(body)},
                "layers": [{"mediaType": layer_type, "digest": digest_of(b), "size": len(b)} for b in blobs]}
    return json.dumps(manifest).encode(), [body, *blobs]


# ---- faults: what happens to the answer of a request ---------------------------------------------------------------

class Fault:
    """act(handler, body, status, headers) -> True when it answered; False: the answer goes on as usual."""

    def __init__(self, act):
        self.act = act


def cut(after):
    """The connection ends after so many bytes of the body, though Content-Length promised more."""
    def act(h, body, status, headers):
        if len(body) <= after:
            return False
        h.start(status, headers, len(body))
        h.body(body[:after])
        h.hang_up()
        return True
    return Fault(act)


def reset(after=0):
    """As cut, by RST."""
    def act(h, body, status, headers):
        if after:
            h.start(status, headers, len(body))
            h.body(body[:after])
        h.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        h.hang_up()
        return True
    return Fault(act)


def drip(bytes_per_s, step=1024):
    """Slowly, until the client goes away."""
    def act(h, body, status, headers):
        h.start(status, headers, len(body))
        for at in range(0, len(body), step):
            h.body(body[at:at + step])
            if h.server.stopping.wait(step / bytes_per_s):
                break
        return True
    return Fault(act)


def stall(after=0):
    """So many bytes, then silence for as long as the server lives or the client stays."""
    def act(h, body, status, headers):
        h.start(status, headers, len(body))
        h.body(body[:after])
        h.wait_for_client_to_leave()
        return True
    return Fault(act)


def answer(code, headers=None, body=b""):
    """This status instead: answer(429, {"Retry-After": "1"}), answer(500)..."""
    def act(h, _body, _status, _headers):
        h.start(code, dict(headers or {}), len(body))
        h.body(body)
        return True
    return Fault(act)


def wrong_bytes():
    """As many bytes, others."""
    def act(h, body, status, headers):
        h.start(status, headers, len(body))
        h.body(bytes(b ^ 0x55 for b in body[:4096]) + body[4096:])
        return True
    return Fault(act)


def too_few(missing=1):
    """A whole, well formed answer, but shorter."""
    def act(h, body, status, headers):
        h.start(status, headers, len(body) - missing)
        h.body(body[:len(body) - missing])
        return True
    return Fault(act)


def too_many(extra=1, say_length=True):
    def act(h, body, status, headers):
        h.start(status, headers, len(body) + extra if say_length else None)
        h.body(body + b"x" * extra)
        if not say_length:
            h.end_chunks()
        return True
    return Fault(act)


def endless():
    """Chunks without end."""
    def act(h, body, status, headers):
        h.start(status, headers, None)
        h.body(body)
        while not h.server.stopping.is_set() and h.body(b"x" * 65536):
            pass
        return True
    return Fault(act)


def redirect(url, code=307):
    """url: a string, or a function of the request's path."""
    def act(h, _body, _status, _headers):
        h.start(code, {"Location": url(h.path) if callable(url) else url}, 0)
        return True
    return Fault(act)


def ignore_range():
    """200 and all of it, whatever was asked."""
    def act(h, body, _status, headers):
        whole = h.whole_body if h.whole_body is not None else body
        headers.pop("Content-Range", None)
        h.start(200, headers, len(whole))
        h.body(whole)
        return True
    return Fault(act)


def content_range(text):
    """206 with this Content-Range (None: without)."""
    def act(h, body, _status, headers):
        headers.pop("Content-Range", None)
        if text is not None:
            headers["Content-Range"] = text
        h.start(206, headers, len(body))
        h.body(body)
        return True
    return Fault(act)


def garbage(data=b"\x00\xff not HTTP at all\r\n\r\n"):
    def act(h, _body, _status, _headers):
        h.wfile.write(data)
        h.hang_up()
        return True
    return Fault(act)


# ---- authentication -----------------------------------------------------------------------------------------------

class BasicAuth:
    def __init__(self, users, realm="tests"):
        self.users, self.realm = users, realm

    def challenge(self, peer, path):
        return f'Basic realm="{self.realm}"'

    def accepts(self, peer, path, header):
        return any(header == basic(n, p) for n, p in self.users.items())


class TokenAuth:
    """Bearer tokens of the endpoint /token of this peer, or of another (at: a Peer that shares this object).

    users: who gets a token with a password; anonymous: whether one is given without. uses: requests that a token is
    good for (None: any number), so that tests see one being renewed.
    """

    def __init__(self, users=None, anonymous=False, uses=None, at=None, service="tests", expires_in=300):
        self.users, self.anonymous, self.uses, self.at = users or {}, anonymous, uses, at
        self.service, self.expires_in = service, expires_in
        self.live = {}  # token: [scope, uses left]
        self.asked = []  # (scope, who or None, headers, granted)
        self.lock = threading.Lock()

    def scope(self, path):
        m = re.match(r"/v2/(.+)/(?:manifests|blobs|tags)/", path)
        return f"repository:{m.group(1)}:pull" if m else ""

    def challenge(self, peer, path):
        realm, scope = (self.at or peer).url + "/token", self.scope(path)
        return f'Bearer realm="{realm}",service="{self.service}"' + (f',scope="{scope}"' if scope else "")

    def accepts(self, peer, path, header):
        with self.lock:
            entry = self.live.get(header[7:]) if header.startswith("Bearer ") else None
            if not entry or self.scope(path) not in (entry[0], ""):
                return False
            if entry[1] is not None:
                entry[1] -= 1
                if entry[1] < 0:
                    return False
            return True

    def serve(self, h, query):
        header = h.headers.get("Authorization", "")
        who = next((n for n, p in self.users.items() if header == basic(n, p)), None)
        granted = bool(who) or (self.anonymous and not header)
        scope = query.get("scope", [""])[0]
        body = b'{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}'
        with self.lock:
            self.asked.append((scope, who, dict(h.headers), granted))
            if granted:
                token = base64.urlsafe_b64encode(os.urandom(24)).decode()
                self.live[token] = [scope, self.uses]
                body = json.dumps({"token": token, "expires_in": self.expires_in}).encode()
        h.start(200 if granted else 401, {"Content-Type": "application/json"}, len(body))
        h.body(body)


# ---- our own registry ---------------------------------------------------------------------------------------------

Seen = collections.namedtuple("Seen", "method path headers sent")


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # a client that goes away is what many tests are about


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def log_message(self, *_):
        pass

    def setup(self):
        # Who begins with TLS where none is spoken must not wait for a line that does not come.
        if not self.server.peer.context and self.request.recv(1, socket.MSG_PEEK) == b"\x16":
            self.request.recv(65536)
            self.request.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nThis server speaks HTTP, not HTTPS.\n")
            self.request.shutdown(socket.SHUT_RDWR)
        if self.server.peer.context:
            self.request.settimeout(20)
            self.request = self.server.peer.context.wrap_socket(self.request, server_side=True)
        self.request.settimeout(None)
        super().setup()
        with self.server.peer.lock:
            self.server.peer.connections.add(self.connection)

    def finish(self):
        with self.server.peer.lock:
            self.server.peer.connections.discard(self.connection)
        try:
            super().finish()
        except OSError:
            pass

    # -- the answer, for faults too
    def start(self, status, headers, length):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.chunked = length is None
        self.send_header(*(("Transfer-Encoding", "chunked") if self.chunked else ("Content-Length", str(length))))
        self.end_headers()
        self.sent = 0

    def body(self, data):
        """False: the client is gone."""
        if self.command == "HEAD" or not data:
            return True
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)
            self.wfile.flush()
            self.sent += len(data)
            return True
        except OSError:
            self.close_connection = True
            return False

    def end_chunks(self):
        self.wfile.write(b"0\r\n\r\n")

    def hang_up(self):
        try:
            self.wfile.flush()
        except OSError:
            pass
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def wait_for_client_to_leave(self):
        self.wfile.flush()
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN | select.POLLRDHUP)
        while not self.server.stopping.is_set() and not poll.poll(200):
            pass
        self.close_connection = True

    # -- requests
    def do_GET(self):
        peer, self.sent, self.whole_body = self.server.peer, 0, None
        with peer.lock:
            peer.busy += 1
        try:
            self.route(peer)
        finally:
            with peer.lock:
                peer.busy -= 1
                peer.seen.append(Seen(self.command, self.path, dict(self.headers), self.sent))
                peer.idle.notify_all()

    do_HEAD = do_GET

    def route(self, peer):
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        if path == "/token" and peer.token_server:
            fault = peer.take_fault(path)
            if not (fault and fault.act(self, b"", 200, {})):
                peer.token_server.serve(self, urllib.parse.parse_qs(url.query))
            return
        fault = peer.take_fault(path, before_auth=True)
        if fault and fault.act(self, b"", 200, {}):
            return
        header = self.headers.get("Authorization", "")
        if peer.auth and path.startswith("/v2") and not peer.auth.accepts(peer, path, header):
            body = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
            self.start(401, {"WWW-Authenticate": peer.auth.challenge(peer, path), "Content-Type": "application/json"},
                       len(body))
            self.body(body)
            return
        status, headers, body = peer.find(path)
        headers = dict(headers)
        m = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if status == 200 and m and "/blobs/" in path:
            self.whole_body, at = body, int(m.group(1))
            if at >= len(body):
                status, headers, body = 416, {"Content-Range": f"bytes */{len(body)}"}, b""
            else:
                headers["Content-Range"] = f"bytes {at}-{len(body) - 1}/{len(body)}"
                status, body = 206, body[at:]
        fault = peer.take_fault(path)
        if fault and fault.act(self, body, status, headers):
            return
        self.start(status, headers, len(body))
        self.body(body)


class Peer:
    """A registry in memory. address: 127.0.0.1, or another of 127/8 to be "another host"."""

    def __init__(self, tls=None, auth=None, address="127.0.0.1", name=None):
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(tls.cert, tls.key)
        self.auth = auth
        self.token_server = auth if isinstance(auth, TokenAuth) else None
        self.blobs, self.manifests, self.faults, self.seen = {}, {}, [], []
        self.connections, self.lock, self.busy = set(), threading.Lock(), 0
        self.idle = threading.Condition(self.lock)
        self.server = _Server((address, 0), _Handler)
        self.server.peer, self.server.stopping = self, threading.Event()
        self.port = self.server.server_address[1]
        self.host = f"{name or address}:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.stopping.set()
        self.server.shutdown()
        with self.lock:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.thread.join(20)
        self.server.server_close()

    def add_blob(self, data):
        self.blobs[digest_of(data)] = data
        return digest_of(data)

    def add_manifest(self, repository, name, data, media_type=OCI_MANIFEST):
        """name: the tag; the manifest is there by its digest too."""
        self.manifests[repository, name] = self.manifests[repository, digest_of(data)] = (data, media_type)
        return digest_of(data)

    def add_image(self, repository, tag, layers, config=None, **kw):
        """layers: uncompressed tars. Return: digest of the manifest, digests of [config, layers...]."""
        manifest, blobs = make_image(layers, config, **kw)
        return self.add_manifest(repository, tag, manifest), [self.add_blob(b) for b in blobs]

    def fault(self, where, fault, times=None, skip=0, before_auth=False):
        """Apply to requests whose path contains `where`: to the next `times` (None: all) after the first `skip`."""
        with self.lock:
            self.faults.append([where, fault, times, skip, before_auth])

    def clear(self):
        with self.lock:
            self.faults, self.seen = [], []

    def take_fault(self, path, before_auth=False):
        with self.lock:
            for entry in self.faults:
                where, fault, times, skip, early = entry
                if where not in path or times == 0 or early != before_auth:
                    continue
                if skip:
                    entry[3] -= 1
                    continue
                if times is not None:
                    entry[2] -= 1
                return fault
        return None

    def find(self, path):
        """Return: status, headers, body."""
        def error(status, code):
            body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
            return status, {"Content-Type": "application/json"}, body
        if path in ("/v2", "/v2/"):
            return 200, {"Docker-Distribution-Api-Version": "registry/2.0"}, b"{}"
        if path == "/v2/_catalog":
            body = json.dumps({"repositories": sorted({r for r, _ in self.manifests})}).encode()
            return 200, {"Content-Type": "application/json"}, body
        m = re.fullmatch(r"/v2/(.+)/(manifests|blobs|tags)/([^/]+)", path)
        if not m:
            return error(404, "UNSUPPORTED")
        repository, kind, name = m.groups()
        known = any(r == repository for r, _ in self.manifests)
        if kind == "blobs":
            if name not in self.blobs:
                return error(404, "BLOB_UNKNOWN")
            return 200, {"Content-Type": "application/octet-stream", "Docker-Content-Digest": name}, self.blobs[name]
        if kind == "tags":
            tags = sorted(n for r, n in self.manifests if r == repository and not n.startswith("sha256:"))
            if not known:
                return error(404, "NAME_UNKNOWN")
            return 200, {"Content-Type": "application/json"}, json.dumps({"name": repository, "tags": tags}).encode()
        if (repository, name) not in self.manifests:
            return error(404, "MANIFEST_UNKNOWN" if known else "NAME_UNKNOWN")
        data, media_type = self.manifests[repository, name]
        return 200, {"Content-Type": media_type, "Docker-Content-Digest": digest_of(data)}, data

    # -- what was asked: of requests whose answers have ended, for which these wait
    def settled(self):
        with self.lock:
            self.idle.wait_for(lambda: self.busy == 0, timeout=5)
            return list(self.seen)

    def paths(self, part=""):
        return [s.path for s in self.settled() if part in s.path]

    def bytes_sent(self, part="/blobs/"):
        """Of bodies; a client that hung up may have read fewer."""
        return sum(s.sent for s in self.settled() if part in s.path)

    def headers_seen(self, name):
        return [v for s in self.settled() for k, v in s.headers.items() if k.lower() == name.lower()]


# ---- a proxy ------------------------------------------------------------------------------------------------------

class _ProxyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        self.server.asked.append(("CONNECT", self.path, dict(self.headers)))
        host, port = self.path.rsplit(":", 1)
        self.tunnel((host.strip("[]"), int(port)), b"", b"HTTP/1.1 200 Connection established\r\n\r\n")

    def do_GET(self):
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        url = urllib.parse.urlsplit(self.path)
        head = f"{self.command} {url.path or '/'}{'?' + url.query if url.query else ''} HTTP/1.1\r\n"
        head += "".join(f"{k}: {v}\r\n" for k, v in self.headers.items() if not k.lower().startswith("proxy-"))
        self.tunnel((url.hostname, url.port or 80), (head + "Connection: close\r\n\r\n").encode(), b"")

    do_HEAD = do_GET

    def tunnel(self, to, first, greeting):
        to = self.server.reroute.get(to[0], to)
        with socket.create_connection(to, timeout=20) as far:
            far.sendall(first)
            self.connection.sendall(greeting)
            ends = {far: self.connection, self.connection: far}
            while not self.server.stopping.is_set():
                for s in select.select(list(ends), [], [], 0.2)[0]:
                    data = s.recv(65536)
                    if not data:
                        self.close_connection = True
                        return
                    ends[s].sendall(data)


class Proxy:
    """An HTTP proxy (CONNECT and plain). asked: what for; reroute: {host name: (address, port)}."""

    def __init__(self, reroute=None):
        self.server = _Server(("127.0.0.1", 0), _ProxyHandler)
        self.server.asked, self.server.stopping, self.server.reroute = [], threading.Event(), reroute or {}
        self.asked = self.server.asked
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.stopping.set()
        self.server.shutdown()
        self.thread.join(20)
        self.server.server_close()


def refused_port():
    """A port of loopback where nobody listens: bound, so that nobody else gets it. Return: (socket to keep, port)."""
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    return s, s.getsockname()[1]
