# SPDX-License-Identifier: Apache-2.0
"""Archives made to be wrong in one way each: layers entry by entry, docker and OCI archives around them."""
import gzip
import hashlib
import io
import json
import tarfile


def digest(data):
    return hashlib.sha256(data).hexdigest()


def layer(*entries):
    """A tar of (name, attributes, data) in pax format; data None: no file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, attributes, data in entries:
            info = tarfile.TarInfo(name)
            for key, value in attributes.items():
                setattr(info, key, value)
            info.size = len(data or b"")
            tar.addfile(info, io.BytesIO(data) if data is not None else None)
    return out.getvalue()


def archive(path, members):
    """A tar of name: bytes."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def config_of(diff_ids, **config):
    return json.dumps({"architecture": "amd64", "os": "linux", "config": config, "rootfs": {
        "type": "layers", "diff_ids": ["sha256:" + d for d in diff_ids]}}).encode()


def docker(path, blob, diff_id=None, **config):
    """As docker save writes it, with one layer: blob is the layer as stored, diff_id what the config says it is."""
    return archive(path, {
        "config.json": config_of([diff_id or digest(blob)], **config), "layer.tar": blob,
        "manifest.json": json.dumps([{"Config": "config.json", "RepoTags": ["bad:1"], "Layers": ["layer.tar"]}]).encode()})


def oci(path, tar, blob=None, named=None, diff_id=None):
    """An OCI layout with one gzip layer. blob: what is stored; named: the digest it is stored and described by."""
    blob = blob if blob is not None else gzip.compress(tar, mtime=0)
    named = named or digest(blob)
    config = config_of([diff_id or digest(tar)])
    manifest = json.dumps({"schemaVersion": 2, "config": {"digest": "sha256:" + digest(config), "size": len(config)},
                           "layers": [{"digest": "sha256:" + named, "size": len(blob)}]}).encode()
    index = {"schemaVersion": 2, "manifests": [{
        "digest": "sha256:" + digest(manifest), "size": len(manifest),
        "annotations": {"org.opencontainers.image.ref.name": "bad:1"}}]}
    return archive(path, {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode(),
                          "blobs/sha256/" + digest(config): config, "blobs/sha256/" + digest(manifest): manifest,
                          "blobs/sha256/" + named: blob})
