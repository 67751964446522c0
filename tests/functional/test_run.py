# SPDX-License-Identifier: Apache-2.0
"""Issue 01: one command in a microVM. Every test boots real guests; the msb fixture checks that nothing is left."""
import os
import signal
import subprocess
import time

import pytest

from conftest import IMAGE, MSB, Msb

LONG = bool(os.environ.get("MSB_LONG"))


@pytest.mark.show_01_3
def test_stdin_reaches_the_command(msb):
    done = msb.run("cat", input=b"abc\n")
    assert (done.stdout, done.returncode) == (b"abc\n", 0)


@pytest.mark.show_01_3
def test_exit_codes(msb, dice):
    """All of 0 to 255 in the long run, else the edges and six more."""
    edges = {0, 1, 2, 125, 126, 127, 128, 129, 254, 255}
    codes = range(256) if LONG else sorted(edges | set(dice.sample(range(256), 6)))
    for code in codes:
        assert msb.run("sh", "-c", f"exit {code}").returncode == code
    print(f"{len(codes)} exit codes")


@pytest.mark.show_01_3
def test_death_by_signal(msb):
    assert msb.run("sh", "-c", "kill -TERM $$").returncode == 143
    assert msb.run("sh", "-c", "kill -KILL $$").returncode == 137


@pytest.mark.show_01_3
def test_not_found_and_not_executable(msb):
    done = msb.run("nosuch")
    assert done.returncode == 127 and done.stderr.count(b"\n") == 1 and b"nosuch" in done.stderr
    done = msb.run("/etc/passwd")
    assert done.returncode == 126 and done.stderr.count(b"\n") == 1 and b"/etc/passwd" in done.stderr


@pytest.mark.show_01_3
def test_streams_stay_apart(msb):
    done = msb.run("sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


@pytest.mark.show_01_3
def test_random_bytes_come_back_equal(msb, dice):
    data = dice.randbytes(1 << 20)
    assert msb.run("cat", input=data).stdout == data


@pytest.mark.show_01_3
def test_much_text(msb):
    """100 MB of text through cat in the long run, else 20 MB."""
    size = (100 if LONG else 20) * 1000 * 1000
    data = b"".join(b"line %d\n" % i for i in range(size // 12))[:size]
    start = time.monotonic()
    assert msb.run("cat", input=data, timeout=300).stdout == data
    print(f"{len(data)} bytes there and back in {time.monotonic() - start:.1f} s")


@pytest.mark.show_01_3
def test_reader_goes_away(msb):
    child = msb.popen("run", IMAGE, "--", "yes", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout.readline() == b"y\n"
    child.stdout.close()
    assert child.wait(timeout=30) == 141


@pytest.mark.show_01_3
def test_closed_and_full_streams(msb):
    line = f"{MSB} run {IMAGE} -- echo hi"
    for redirect in ("<&-", ">&-", "2>/dev/full"):
        subprocess.run(["sh", "-c", f"{line} {redirect}"], env=msb.env, timeout=30, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done = subprocess.run(["sh", "-c", f"{line} >/dev/full"], env=msb.env, timeout=30, stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE)
    assert done.returncode == 125 and b"standard output" in done.stderr


@pytest.mark.show_01_3
def test_sigterm_is_forwarded(msb):
    child = msb.popen("run", IMAGE, "--", "sh", "-c", "echo up; exec sleep 100", stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"up\n"
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=30) == 143
    child.stdout.close()


@pytest.mark.show_01_3
def test_pty(msb):
    done = msb.run("sh", "-c", "tty; stty size", options=("-t",))
    assert done.returncode == 0 and b"/dev/pts/" in done.stdout


@pytest.mark.show_01_3
def test_timeout(msb):
    done = msb.run("sleep", "100", options=("--timeout", "2s"))
    assert done.returncode == 1 and b"--timeout" in done.stderr


@pytest.mark.show_01_2
def test_identity_environment_directory(msb):
    done = msb.run("sh", "-c", "id -u; id -g; id -G; echo $HOME $IMAGE_VAR $MINE; pwd; hostname",
                   options=("-u", "user", "-e", "MINE=x", "-w", "/var", "-H", "box"))
    assert done.stdout.decode().splitlines() == ["1000", "1000", "1000 2000", "/home/user from-image x", "/var", "box"]


@pytest.mark.show_01_2
def test_cpus_and_memory(msb):
    for cpus in (1, 2):
        assert int(msb.run("nproc", options=("-c", str(cpus))).stdout) == cpus
    for mib in (256, 1024):
        kib = int(msb.run("sh", "-c", "grep MemTotal /proc/meminfo", options=("-m", f"{mib}M")).stdout.split()[1])
        assert abs(kib / 1024 - mib) <= 0.15 * mib


@pytest.mark.show_01_2
def test_files_of_the_image(msb):
    done = msb.run("sh", "-c", "stat -c %h /bin/busybox; cmp /bin/busybox /usr/bin/busybox-link; echo x > /etc/new && cat /etc/new")
    assert done.stdout == b"2\nx\n" and done.returncode == 0


@pytest.mark.show_01_2
def test_foreign_archives(msb, archive, tmp_path):
    """skopeo's docker-archive and oci-archive load and run like the original."""
    known = set(msb("images", "-q").stdout.split())
    layout = tmp_path / "layout"
    layout.mkdir()
    subprocess.run(["tar", "-C", layout, "-xf", archive], check=True)
    for kind in ("docker-archive", "oci-archive"):
        out = tmp_path / f"{kind}.tar"
        name = f"localhost/{kind}:1"
        subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", f"oci:{layout}:busybox", f"{kind}:{out}:{name}"], check=True)
        done = msb("load", "-i", str(out), "-t", name)
        assert done.returncode == 0, done.stderr
        assert msb("run", name, "--", "echo", "ok").stdout == b"ok\n"
        assert msb("rmi", name).returncode == 0
    # skopeo may have added names of its own
    for name in set(msb("images", "-q").stdout.split()) - known:
        assert msb("rmi", name.decode()).returncode == 0


BAD = [
    (["run"], 2, b"which image"),
    (["run", "nosuch:1", "--", "true"], 125, b"nosuch"),
    (["run", "BAD NAME", "--", "true"], 2, b"BAD NAME"),
    (["run", "-H", "a\nb", IMAGE, "--", "true"], 2, b"--hostname"),
    (["run", "-H", "x" * 65, IMAGE, "--", "true"], 2, b"--hostname"),
    (["load", "-i", "/nosuch.tar", "-t", "good:1", "-t", "BAD!"], 2, b"BAD!"),
    (["rmi", "BAD!"], 2, b"BAD!"),
    (["run", IMAGE, "ls", "-la"], 2, b"-- ls -la"),
    (["run", IMAGE, "ls"], 2, b"did you mean: msb run"),
    (["run", "-m", "0", IMAGE], 2, b"--memory"),
    (["run", "-m", "512MB", IMAGE], 2, b"use 512M"),
    (["run", "-m", "4000G", IMAGE, "--", "true"], 125, b"this host has"),
    (["run", "-c", "0", IMAGE], 2, b"--cpus"),
    (["run", "-c", "33", IMAGE], 2, b"--cpus"),
    (["run", "--memroy", "1G", IMAGE], 2, b"did you mean --memory"),
    (["run", "-v", "/a:/b", IMAGE], 2, b"not available"),
    (["run", "-w", "/nosuch", IMAGE, "--", "true"], 125, b"/nosuch"),
    (["run", "-u", "nobody-here", IMAGE, "--", "true"], 125, b"nobody-here"),
    (["run", "--hypervisor", "xen", IMAGE], 2, b"xen"),
    (["load", "-i", "/nosuch.tar"], 1, b"/nosuch.tar"),
    (["rmi", "nosuch:1"], 1, b"nosuch"),
    (["rnu"], 2, b"did you mean msb run"),
]


@pytest.mark.bad_input
@pytest.mark.parametrize("args,status,words", BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else None)
def test_bad_input(msb, args, status, words):
    done = msb(*args)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert done.stderr.count(b"error:") == 1


@pytest.mark.bad_input
def test_bad_archives(msb, archive, tmp_path):
    data = archive.read_bytes()
    cases = {"truncated": data[: len(data) // 2], "not a tar": b"hello" * 1000, "empty": b""}
    flipped = bytearray(data)
    at = data.index(b"\x1f\x8b\x08") + 5000  # inside the layer
    flipped[at] ^= 0xFF
    cases["flipped"] = bytes(flipped)
    for name, content in cases.items():
        path = tmp_path / "bad.tar"
        path.write_bytes(content)
        # A home of its own: in the shared one the layer is cached already and need not be read.
        other = Msb(tmp_path / "home")
        done = other("load", "-i", str(path), "-t", "x:1")
        assert done.returncode == 1 and done.stderr.count(b"error:") == 1, (name, done.stderr)
        assert other("images", "-q").stdout == b"", name
