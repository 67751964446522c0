# SPDX-License-Identifier: Apache-2.0
"""Bad input through the command line. Each failure is one "error:" line that says what and where, then a hint that
says what to do, with the exit status that scripts rely on (2: visible on the command line; 125: msb's own failure in
run; 1: elsewhere), and nothing is left behind."""
import gzip
import os
import pathlib
import pty
import resource
import shutil
import subprocess
import tarfile
import tempfile
import time

import pytest

import archives
import leftovers
from conftest import IMAGE, MSB, Msb

pytestmark = pytest.mark.bad_input
ROOT = os.geteuid() == 0
MIB = 1 << 20
# Root is refused as others are once it has lost the power to look away.
ORDINARY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"] if ROOT else []
# Mounts of the test's own, which end with the command. An ordinary user is root of a user namespace there.
OWN_MOUNTS = ["unshare", "-m" if ROOT else "-rm", "--propagation", "private", "sh", "-euc"]


def complaint(done, status, *words):
    """One error line with these words, one hint, this exit status."""
    lines = done.stderr.decode().splitlines()
    errors = [n for n, line in enumerate(lines) if line.startswith("error: ")]
    assert done.returncode == status, done.stderr
    assert len(errors) == 1 and done.stderr.count(b"error:") == 1, done.stderr
    assert len(lines) == errors[0] + 2 and lines[-1].startswith("  → "), done.stderr
    for word in words:
        assert word in lines[errors[0]] + lines[-1], done.stderr


@pytest.fixture(autouse=True)
def nothing_left(home):
    """No process, and no file in the shared home, beyond what was there."""
    census = leftovers.Census(home)
    yield
    end = time.monotonic() + 2
    while census.processes_left() and time.monotonic() < end:
        os.sched_yield()
    assert not census.processes_left()
    assert leftovers.files(home) == {f for f in census.files if not f.startswith("/dev/shm")}


@pytest.fixture
def fresh(tmp_path):
    """A home of its own, in which nothing is cached; afterwards no image and no part of one may be there."""
    other = Msb(tmp_path / "home")
    yield other
    left = [f for f in leftovers.files(tmp_path / "home/cache") if os.path.isfile(f) and not f.endswith("/lock")]
    assert left == [] and os.listdir(tmp_path / "home/sandboxes") in ([], [".lock"])


def shell(msb, script, *args, **env):
    """A script with mounts of its own; $MSB is the program."""
    return subprocess.run([*OWN_MOUNTS, script, "sh", *args], env=dict(msb.env, MSB=str(MSB), **env), timeout=120,
                          capture_output=True, stdin=subprocess.DEVNULL)


# --- the command line alone

USAGE = [
    (["run", "--nosuch", IMAGE], "--nosuch"), (["run", "-x", IMAGE], "-x"), (["run", "-c"], "-c", "N"),
    (["run", "--cpus=two", IMAGE], "--cpus", "two"), (["run", "-m", "1K", IMAGE], "--memory", "1K"),
    (["run", "-m", "", IMAGE], "--memory"), (["run", "--quiet=1", IMAGE], "--quiet", "no value"),
    (["run", "-t", "--no-tty", IMAGE], "--no-tty"), (["run", "-e", "=x", IMAGE], "--env", "=x"),
    (["run", "-e", "MSB_X=1", IMAGE], "--env", "MSB_X"), (["run", "-e", "NOT_SET_HERE", IMAGE], "NOT_SET_HERE"),
    (["run", "-w", "rel", IMAGE], "--workdir", "rel"), (["run", "--shell", "a b", IMAGE], "--shell"),
    (["run", "--timeout", "0", IMAGE], "--timeout"), (["run", "--timeout", "5 m", IMAGE], "--timeout", "5 m"),
    (["run", "--rlimit", "nofile=2:1", IMAGE], "--rlimit"), (["run", "--rlimit", "nosuch=1", IMAGE], "nosuch=1"),
    (["run", "", "--", "true"], "is empty"), (["run", "UPPER", "--", "true"], "UPPER"),
    (["run", IMAGE, "--", ""], "program name"), (["load", "x.tar"], "load -i x.tar"), (["load", "-i", ""], "--input"),
    (["rmi"], "which image"), (["images", "x"], "x"), (["images", "--format", "xml"], "xml"), (["doctor", "x"], "x"),
    (["completion", "ksh"], "ksh", "zsh"), (["completion"], "which shell"), (["image", "rmm"], "image rm"), (["help", "nosuch"], "nosuch"),
    (["--nosuch"], "--nosuch"),
    (["imagse"], "msb images"), (["snapshot", "ls"], "not available"), (["run", "-v", "a:/a", IMAGE], "volume", "not available"),
    # The network: the option, the token, what was expected, the nearest word.
    (["run", "-p", "80", IMAGE], "--port", '"80"', "[BIND:]HOST:GUEST[/tcp|/udp]"), (["create", "-p", "0:80", IMAGE], '"0" is no port'),
    (["run", "-p", "80:80/tpc", IMAGE], "tpc", "tcp or udp"), (["run", "-p", "localhost:80:80", IMAGE], "localhost", "127.0.0.1"),
    (["run", "-p", "::1:80:80", IMAGE], "brackets", "[::1]:80:80"), (["run", "-p", "1:1", "-p", "1:2", IMAGE], "port 1", "twice"),
    (["run", "--net", "publik", IMAGE], "--net:", "publik", 'did you mean "public"?'),
    (["run", "--net", "all,host", IMAGE], '"all" stands alone'), (["run", "--net", "all", "--no-net", IMAGE], "--net and --no-net exclude"),
    (["run", "--net-default", "block", IMAGE], "--net-default", "block", "allow or deny"),
    (["run", "--no-net", "--net-default-egress", "deny", IMAGE], "--no-net and --net-default-egress exclude"),
    (["run", "--net-rule", "allow@publik", IMAGE], "--net-rule", "publik", 'did you mean "public"?'),
    (["run", "--net-rule", "allow@host:443", IMAGE], '"443" is a port', ":tcp:443"),
    (["run", "--net-rule", "allow@10.0.0.1/8", IMAGE], "10.0.0.1/8", "did you mean 10.0.0.0/8?"),
    (["run", "--net-rule", "allow@any,", IMAGE], "one of them is empty"), (["run", "--net-mtu", "65521", IMAGE], "--net-mtu", "65521", "65520"),
    (["run", "--no-network", "-p", "1:1", IMAGE], "--no-network and --port exclude"),
    (["run", "--no-network", "--net-rule", "allow@any", IMAGE], "--no-network and --net-rule exclude"),
    (["run", "--max-connections", "0", IMAGE], "--max-connections", "1 to 4096"), (["run", "--max-connections", "4097", IMAGE], "4097"),
    (["run", "--dns-nameserver", "1.1.1", IMAGE], "--dns-nameserver", "1.1.1", "IP:PORT"),
    (["run", "--dns-nameserver", "1.1.1.1:x", IMAGE], '"x" is no port'), (["run", "--dns-block-domain", "a..b", IMAGE], "--dns-block-domain", "a..b"),
    (["run", "--dns-block-suffix", "", IMAGE], "--dns-block-suffix"), (["run", "--dns-query-timeout-ms", "0", IMAGE], "1 to 60000"),
    (["run", "--net-pcap", "", IMAGE], "--net-pcap", "empty"), (["run", "--net-rul", "x", IMAGE], "did you mean --net-rule?"),
    (["run", "--net-egress-bandwidth", "10X", IMAGE], "--net-egress-bandwidth", "10X", "500K"),
    (["run", "--net-ingress-ops", "1K", IMAGE], "--net-ingress-ops", "1K", "packets"), (["run", "--net-egress-ops", "5/0", IMAGE], "--net-egress-ops"),
    (["run", "--net-egress-ops-burst", "5", IMAGE], "--net-egress-ops-burst needs --net-egress-ops"),
    (["run", "--net-egress-bandwidth", "1M/48h", IMAGE], "48h", "a day"), (["run", "--no-network", "--net-egress-ops", "5", IMAGE], "exclude"),
    (["run", "--proxy", "socks5://127.0.0.1:1080", IMAGE], "--proxy", "not available"), (["run", "--deployment-profile", "x", IMAGE], "multi-tenant"),
    (["net", "explain", "x"], "which sandbox, and which host?"), (["net", "explain", "x", "a:b"], '"a:b"', "HOST[:PORT]"),
    (["net", "explain", "x", "1.1.1.1/tpc"], "tpc", 'did you mean "tcp"?'), (["net", "explian", "x", "y"], "did you mean msb net explain?"),
]


@pytest.mark.parametrize("case", USAGE, ids=lambda c: " ".join(c[0]))
def test_usage(msb, case):
    complaint(msb(*case[0]), 2, *case[1:])


def test_environment_that_is_no_choice(msb):
    msb.env["MSB_HYPERVISOR"] = "xen"
    complaint(msb.run("true"), 2, "MSB_HYPERVISOR", "xen")


@pytest.mark.parametrize("command", ["run", "load", "images", "rmi", "doctor", "completion", "image", "pull", "save", "registry",
                                     "registry login", "registry ls", "image import", "system df", "create", "exec", "cp", "stop",
                                     "ls", "net explain"])
def test_help_says_the_same_however_it_is_asked_for(msb, command):
    words = command.split()
    said = [msb(*words, "--help"), msb(*words, "-h"), msb("help", *words)]
    assert all(d.returncode == 0 and d.stderr == b"" and d.stdout == said[0].stdout for d in said)
    text = said[0].stdout.decode()
    assert f"Usage: msb {command}" in text and max(map(len, text.splitlines())) <= 100
    assert f"  {command} " in msb("--help").stdout.decode()


@pytest.mark.parametrize("given,coloured", [(None, True), ("", True), ("1", False)])
def test_no_color(msb, given, coloured):
    msb.env.update(TERM="xterm")
    msb.env.pop("NO_COLOR", None)
    if given is not None:
        msb.env["NO_COLOR"] = given
    ours, theirs = pty.openpty()
    done = msb("rmi", "nosuch:1", stderr=theirs)
    os.close(theirs)
    said = os.read(ours, 4096)
    os.close(ours)
    assert done.returncode == 1 and b"error:" in said and (b"\x1b" in said) == coloured


# --- archives

def test_unreadable_archive(fresh, tmp_path, archive):
    secret = shutil.copy(archive, tmp_path / "secret.tar")
    os.chmod(secret, 0)
    done = subprocess.run([*ORDINARY, MSB, "load", "-i", secret], env=fresh.env, capture_output=True)
    complaint(done, 1, str(secret), "Permission denied", "ls -ld")


@pytest.mark.parametrize("path", ["/nosuch/x.tar", "/dev/zero", "/"])
def test_no_archive(fresh, path):
    complaint(fresh("load", "-i", path), 1, path)


@pytest.mark.show_02_bad
@pytest.mark.parametrize("where", [1, 511, 512, 1000, 100_000, -2_000_000, -100_000])
def test_truncated_archive(fresh, archive, tmp_path, where):
    data = archive.read_bytes()
    bad = tmp_path / "bad.tar"
    bad.write_bytes(data[:where])
    complaint(fresh("load", "-i", str(bad)), 1, str(bad))
    complaint(fresh("load", input=data[:where]), 1)
    bad.write_bytes(gzip.compress(data, 1)[:where if where > 0 else -1000])
    complaint(fresh("load", "-i", str(bad)), 1, str(bad))


FILES = archives.layer(("a", {}, b"hello" * 2000))


@pytest.mark.show_02_bad
@pytest.mark.parametrize("make", [
    lambda p: archives.oci(p, FILES, named="0" * 64),
    lambda p: archives.oci(p, FILES, diff_id="0" * 64),
    lambda p: archives.docker(p, FILES, diff_id="0" * 64),
    lambda p: archives.oci(p, FILES, blob=gzip.compress(FILES)[:-9]),
    lambda p: archives.oci(p, FILES, blob=b"")], ids=["blob", "diff_id", "docker", "gzip", "empty"])
def test_wrong_digest_or_blob(fresh, tmp_path, make):
    bad = make(tmp_path / "bad.tar")
    complaint(fresh("load", "-i", bad), 1, bad, "again")


@pytest.mark.show_02_bad
@pytest.mark.parametrize("members,words", [
    ({"x": b"1"}, "manifest.json"), ({"manifest.json": b"[{"}, "manifest.json"), ({"manifest.json": b"[]"}, "no image"),
    ({"manifest.json": b'[{"Config":"c"}]'}, "no c"), ({"index.json": b"{}"}, "no image"),
    ({"index.json": b'{"manifests":[{"digest":"sha256:../../x"}]}'}, "sha256"),
    ({"index.json": b'{"manifests":' + b"[" * 100_000}, "index.json")], ids=lambda v: v if isinstance(v, str) else None)
def test_manifests(fresh, tmp_path, members, words):
    complaint(fresh("load", "-i", archives.archive(tmp_path / "bad.tar", members)), 1, words)


LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.show_02_bad
@pytest.mark.parametrize("entries,words", [
    ([("../escaped", {}, b"x")], "../escaped"), ([("a/../../escaped", {}, b"x")], "a/../../escaped"),
    ([("x", {"type": HARD, "linkname": "../../../etc/passwd"}, None)], "../../../etc/passwd"),
    ([("x", {"type": HARD, "linkname": "/etc/passwd"}, None)], "etc/passwd"),
    ([("d", {"type": LINK, "linkname": "/etc"}, None), ("x", {"type": HARD, "linkname": "d/passwd"}, None)], "d/passwd"),
    ([("n" * 300, {}, b"x")], "255"), ([("/".join(["d"] * 200), {}, b"")], "levels"),
    ([("l", {"type": LINK, "linkname": "x" * 5000}, None)], "l: bad"),
], ids=str)
def test_layers_that_reach_out(fresh, tmp_path, entries, words):
    complaint(fresh("load", "-i", archives.docker(tmp_path / "bad.tar", archives.layer(*entries))), 1, words)
    assert not list(tmp_path.parent.rglob("escaped"))


@pytest.mark.show_02_bad
def test_absolute_paths_and_links_as_ancestors_stay_inside(tmp_path, request):
    """They name places of the image: a link as an ancestor leads to a place in it, never to the host's."""
    outside = pathlib.Path(tempfile.mkdtemp(dir="/var/tmp"))  # the guest's /tmp is a file system of its own
    request.addfinalizer(lambda: shutil.rmtree(outside))
    busybox = pathlib.Path(shutil.which("busybox")).read_bytes()
    tar = archives.layer(("bin/busybox", {"mode": 0o755}, busybox), ("/etc/absolute", {}, b"absolute\n"),
                         ("d", {"type": LINK, "linkname": str(outside)}, None), ("d/x", {}, b"inside\n"))
    msb = Msb(tmp_path / "home")
    assert msb("load", "-i", archives.docker(tmp_path / "a.tar", tar)).returncode == 0
    assert not list(outside.iterdir())
    done = msb("run", "bad:1", "--", "/bin/busybox", "sh", "-c", f"/bin/busybox cat /etc/absolute {outside}/x")
    assert done.stdout == b"absolute\ninside\n", done.stderr
    assert not list(outside.iterdir())


@pytest.mark.show_02_bad
def test_bombs_are_stopped_quickly(fresh, tmp_path):
    zeroes = gzip.compress(bytes(64 * MIB), mtime=0)
    outer = tmp_path / "outer.tar.gz"
    outer.write_bytes(zeroes * 1100)  # 70 GiB
    huge = tarfile.TarInfo("huge")
    huge.size = 1 << 40
    member = gzip.compress(huge.tobuf(tarfile.GNU_FORMAT), mtime=0)
    (tmp_path / "member.tar.gz").write_bytes(member + zeroes * 1100)
    cases = {
        outer: "not a tar", tmp_path / "member.tar.gz": "64 GiB",
        archives.oci(tmp_path / "behind.tar", FILES, blob=gzip.compress(FILES) + zeroes * 200): "after its end",
        archives.oci(tmp_path / "file.tar", b"", blob=member + zeroes * 200): "5 GiB",
    }
    for path, words in cases.items():
        start = time.monotonic()
        complaint(fresh("load", "-i", str(path)), 1, str(path), words)
        assert time.monotonic() - start < 5, path
    with open("/dev/zero") as endless:
        complaint(fresh("load", stdin=endless), 1, "not a tar")


@pytest.mark.show_02_bad
def test_archive_with_no_end_behind_it(tmp_path, archive):
    """What follows the end is not waited for."""
    start = time.monotonic()
    done = subprocess.run(["sh", "-c", 'cat "$1" /dev/zero | "$2" load -q -t x:1', "sh", archive, MSB],
                          env=Msb(tmp_path / "home").env, capture_output=True, timeout=60)
    assert done.returncode == 0 and time.monotonic() - start < 20, done.stderr


# --- what msb needs and does not find

@pytest.mark.parametrize("kind,words", [
    ("missing", "No such file"), ("empty", "not a kernel"), ("text", "not a kernel"), ("program", "not a kernel"),
    ("header", "truncated"), ("half", "truncated"), ("folder", "not a regular file"), ("fifo", "not a regular file")])
def test_kernel_file(msb, tmp_path, kind, words):
    kernel = tmp_path / "kernel"
    found, = [line.split(None, 3)[3] for line in msb("doctor").stdout.decode().splitlines() if "guest kernel" in line]
    content = {"empty": b"", "text": b"hello\n" * 100, "program": pathlib.Path("/bin/true").read_bytes()}
    if kind in content:
        kernel.write_bytes(content[kind])
    elif kind in ("header", "half"):
        data = pathlib.Path(found).read_bytes()
        kernel.write_bytes(data[:64 if kind == "header" else len(data) // 2])
    elif kind == "folder":
        kernel.mkdir()
    elif kind == "fifo":
        os.mkfifo(kernel)
    msb.env["MSB_LIBKRUNFW_PATH"] = str(kernel)
    complaint(msb.run("true"), 125, str(kernel), words, "setup.sh")
    assert f"✗ guest kernel           guest kernel {kernel}" in msb("doctor").stdout.decode()


def test_no_kernel_at_all(msb):
    msb.env.update(XDG_CACHE_HOME="/nosuch")
    msb.env.pop("MSB_LIBKRUNFW_PATH", None)
    complaint(msb.run("true"), 125, "no guest kernel", "setup.sh")


@pytest.mark.parametrize("how", ["MSB_QEMU_PATH", "hidden"])
def test_no_qemu(msb, how):
    if how == "hidden":
        done = shell(msb, f'mount --bind /dev/null "$1"; PATH=/nosuch "$MSB" run --hypervisor qemu {IMAGE} -- true',
                     os.path.realpath(shutil.which("qemu-system-x86_64")))
    else:
        msb.env["MSB_QEMU_PATH"] = "/nosuch/qemu"
        done = msb.run("true", options=["--hypervisor", "qemu"])
    complaint(done, 125, "qemu-system-x86_64", "apt-get install")


def test_no_kvm(msb):
    """Without the device: a fallback, unless it was asked for."""
    script = 'mkdir "$1"; touch "$1"/null "$1"/urandom "$1"/zero; for d in null urandom zero; do ' \
        f'mount --bind /dev/$d "$1"/$d; done; mount --rbind "$1" /dev; "$MSB" run $2 {IMAGE} -- echo ok'
    folder = msb.home.parent / "dev"
    try:
        done = shell(msb, script, folder, "-q", MSB_HYPERVISOR="auto")
        assert done.stdout == b"ok\n", done.stderr
        shutil.rmtree(folder)
        complaint(shell(msb, script, folder, "--hypervisor=kvm"), 125, "no /dev/kvm", "--hypervisor auto")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_no_mke2fs(msb):
    """The writable layer lives in memory then; a full one is the guest's error, not the host's."""
    tools = [p for p in ("/usr/sbin/mke2fs", "/sbin/mke2fs") if os.path.exists(p)]
    hide = f'mount --bind /dev/null {os.path.realpath(tools[0])}; mount -t tmpfs none "$MSB_HOME/cache/templates"; '
    done = shell(msb, hide + f'"$MSB" run -m 256M {IMAGE} -- sh -c "dd if=/dev/zero of=/f bs=1M; rm /f; echo alive"')
    assert done.stdout == b"alive\n" and b"No space left on device" in done.stderr and done.returncode == 0


def test_unwritable_tmp(msb):
    done = shell(msb, f'mount -t tmpfs -o ro none "$TMPDIR"; "$MSB" run {IMAGE} -- echo ok', TMPDIR="/var/tmp")
    assert done.stdout == b"ok\n", done.stderr


def test_msb_alone(msb, tmp_path, archive):
    """Copied without what is beside it: run and load say what is missing. By a link, all works."""
    alone = tmp_path / "bin/msb"
    alone.parent.mkdir()
    shutil.copy(MSB, alone)
    call = dict(env=msb.env, capture_output=True, stdin=subprocess.DEVNULL)
    assert subprocess.run([alone, "run", "--no-network", IMAGE, "--", "echo", "hi"], **call).stdout == b"hi\n"
    complaint(subprocess.run([alone, "run", IMAGE, "--", "echo", "hi"], **call), 125, "msb-gateway is missing", "--no-network")
    complaint(subprocess.run([alone, "load", "-i", archive], **call), 1, "msb-image", "next to msb")
    helper = alone.parent / "msb-image"
    helper.write_text("#!/bin/sh\nexit 3\n")
    helper.chmod(0o755)
    complaint(subprocess.run([alone, "load", "-i", archive], **call), 1, str(helper), "status 3", "same build")
    helper.write_text("no program")
    complaint(subprocess.run([alone, "load", "-i", archive], **call), 1, str(helper), "cannot be started")
    link = tmp_path / "link"
    link.symlink_to(MSB)
    other = dict(call, env=dict(msb.env, MSB_HOME=str(tmp_path / "home")))
    loaded = subprocess.run([link, "load", "-i", archive, "-t", "linked:1"], **other)
    assert loaded.returncode == 0, loaded.stderr
    assert subprocess.run([link, "run", IMAGE, "--", "echo", "hi"], **call).stdout == b"hi\n"


# --- the state folder

def test_neither_home(msb):
    for name in ("HOME", "MSB_HOME"):
        msb.env.pop(name, None)
    complaint(msb("images"), 1, "HOME", "export MSB_HOME")
    complaint(msb.run("true"), 125, "HOME", "export MSB_HOME")
    assert "✗ state folder" in msb("doctor").stdout.decode()


def test_relative_home(msb):
    msb.env["MSB_HOME"] = msb.home.name
    assert msb.run("echo", "hi", cwd=msb.home.parent).stdout == b"hi\n"


@pytest.mark.parametrize("how", ["mount", "permissions"])
def test_home_that_cannot_be_written(msb, archive, how):
    """Images are listed; what has to write says that it cannot."""
    commands = {("images", "-q"): 0, ("load", "-i", str(archive)): 1, ("rmi", IMAGE): 1,
                ("run", IMAGE, "--", "true"): 125}
    mode = msb.home.stat().st_mode
    for command, status in commands.items():
        if how == "mount":
            done = shell(msb, 'mount --bind "$MSB_HOME" "$MSB_HOME"; mount -o remount,bind,ro "$MSB_HOME"; '
                         'exec "$MSB" "$@"', *command)
        else:
            os.chmod(msb.home, 0o500)
            done = subprocess.run([*ORDINARY, MSB, *command], env=msb.env, capture_output=True, stdin=subprocess.DEVNULL)
            os.chmod(msb.home, mode)
        if status:
            complaint(done, status, str(msb.home), "cannot be written", "MSB_HOME")
        else:
            assert (done.returncode, done.stderr) == (0, b"") and IMAGE.encode() in done.stdout


def test_images_makes_nothing(tmp_path):
    done = Msb(tmp_path / "home")("images")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"No images found.\n")
    assert not list(tmp_path.iterdir())
    assert Msb(tmp_path / "home")("images", "--format", "json").stdout == b"[]\n"


def test_doctor_says_what_to_do(msb, tmp_path):
    """Every row that is not good is followed by a hint, also where there is no state folder."""
    for home, status in ((msb.home, 0), ("/proc/nosuch", 1)):
        msb.env["MSB_HOME"] = str(home)
        done = msb("doctor")
        lines = done.stdout.decode().splitlines()
        assert done.returncode == status and done.stderr == b""
        for row in ("KVM", "QEMU", "guest kernel", "msb-image", "msb-gateway", "mke2fs", "state folder", "confinement"):
            assert [line for line in lines if line.startswith(("  ✓ " + row, "  ! " + row, "  ✗ " + row))], row
        for number, line in enumerate(lines):
            if line.startswith(("  ! ", "  ✗ ")):
                assert lines[number + 1].startswith("      → "), line
        assert ("  ✗ " in done.stdout.decode()) == (status == 1)


FULL = 'mount -t tmpfs -o size="$1" none "$2"; export MSB_HOME="$2"; '


@pytest.mark.parametrize("size", ["4k", "40k", "1m"])
def test_disk_full_during_load(msb, tmp_path, archive, size):
    done = shell(msb, FULL + '"$MSB" load -i "$3" || status=$?; find "$2" -type f ! -name lock; exit $status', size, tmp_path,
                 archive)
    complaint(done, 1, "No space left on device", "MSB_HOME")
    assert done.stdout == b""


@pytest.mark.parametrize("template", ["not made", "made"])
def test_disk_full_during_run(msb, tmp_path, archive, template):
    """With 0 bytes left, for the template of the writable disk or for its copy."""
    first = f'"$MSB" run {IMAGE} -- true; ' if template == "made" else ""
    done = shell(msb, FULL + f'"$MSB" load -q -i "$3" -t {IMAGE}; {first}'
                 '! dd if=/dev/zero of="$2"/fill bs=4k 2>/dev/null; find "$2" -type f >/tmp/before.$$; '
                 f'"$MSB" run {IMAGE} -- true || status=$?; rm "$2"/fill; '
                 'find "$2" -type f ! -name .lock | grep -vxFf /tmp/before.$$ || :; rm /tmp/before.$$; '
                 f'"$MSB" run {IMAGE} -- echo alive; '
                 "exit $status", "16m", tmp_path, archive)
    complaint(done, 125, "writable disk", "No space left on device", "MSB_HOME")
    assert done.stdout == b"alive\n"


def test_host_disk_fills_while_the_guest_writes(msb, tmp_path, archive):
    """The guest sees an I/O error, and the sandbox still ends."""
    done = shell(msb, FULL + f'"$MSB" load -q -i "$3" -t {IMAGE}; "$MSB" run {IMAGE} -- sh -c '
                 '"dd if=/dev/urandom of=/f bs=1M count=60 && sync; echo ended" 2>&1; ls "$2"/sandboxes',
                 "32m", tmp_path, archive)
    assert b"ended" in done.stdout and done.returncode == 0, done
    assert done.stdout.endswith(b"ended\n")


# --- limits of the caller

@pytest.mark.parametrize("files", [4, 8, 16])
def test_few_open_files(msb, files):
    done = msb.run("true", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
    complaint(done, 125, "Too many open files", "ulimit -n")


@pytest.mark.parametrize("mib", [20, 100, 600])
def test_little_address_space(msb, mib):
    done = msb.run("true", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (mib * MIB, mib * MIB)),
                   options=["--hypervisor", "qemu"])
    complaint(done, 125)
    if mib < 512:
        complaint(done, 125, "--memory", f"{mib} MiB", "ulimit -v")


def test_small_files_only(fresh, archive):
    done = fresh("load", "-i", str(archive), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB)))
    complaint(done, 1, "File too large", "ulimit -f")


def test_closed_streams(fresh, archive):
    for redirect, status in (("<&-", 1), (">&-", 0)):
        done = subprocess.run(["sh", "-c", f'"$1" load -q {"" if status else "-i " + str(archive)} {redirect}', "sh", MSB],
                              env=fresh.env, capture_output=True)
        if status:
            complaint(done, 1, "not a tar")
        else:
            assert (done.returncode, done.stderr) == (0, b"")
    assert fresh("rmi", "busybox").returncode == 0


def memory_group():
    """A folder of the memory controller that groups can be made in, the file of the limit; None where there is none."""
    for parent, limit in (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
        try:
            if limit == "memory.max":
                if "memory" not in pathlib.Path(parent, "cgroup.controllers").read_text().split():
                    continue
                pathlib.Path(parent, "cgroup.subtree_control").write_text("+memory")
            group = pathlib.Path(parent, f"msb-test-{os.getpid()}")
            group.mkdir()
            group.rmdir()
            return group, limit
        except OSError:
            continue
    return None


GROUP = memory_group() if ROOT else None

if GROUP:
    def test_more_memory_than_the_cgroup_has(msb):
        """Also when the limit is a parent's, and not at the root where containers have it."""
        group, limit = GROUP
        inner = group / "inner"
        group.mkdir()
        try:
            (group / limit).write_text(str(200 * MIB))
            inner.mkdir()
            script = f'echo $$ > {inner}/cgroup.procs; exec "$@"'
            call = dict(env=msb.env, capture_output=True, stdin=subprocess.DEVNULL)
            done = subprocess.run(["sh", "-c", script, "sh", MSB, "run", "-m", "256M", IMAGE, "--", "true"], **call)
            complaint(done, 125, "--memory", "256 MiB", "200 MiB", "cgroup")
        finally:
            if inner.exists():
                inner.rmdir()
            group.rmdir()


# --- inside the guest

@pytest.mark.parametrize("options,words", [(["-w", "/nosuch"], "/nosuch"), (["-w", "/etc/passwd"], "/etc/passwd"),
                                           (["-w", "/" + "d" * 5000], "4095"),
                                           (["-u", "nobody-here"], "nobody-here"), (["-u", "user:nobodies"], "nobodies"),
                                           (["-u", "a" * 300], "aaa"), (["--rlimit", "nofile=9999999999"], "--rlimit nofile: soft 9999999999"),
                                           ([w for n in range(11) for w in ("-e", f"V{n}=" + "x" * 100_000)], "shorter")],
                         ids=lambda v: " ".join(v)[:20] if isinstance(v, list) else v[:9])
def test_what_the_guest_refuses(msb, options, words):
    complaint(msb.run("true", options=options), 125, words)


def test_guest_disk_fills(msb):
    done = msb.run("sh", "-c", "fallocate -l 9G /big; dd if=/dev/zero of=/more bs=1M; rm /big; "
                   "echo fine > /after && cat /after", timeout=120)
    assert (done.returncode, done.stdout) == (0, b"fine\n") and done.stderr.count(b"No space left on device") == 2
    assert msb.run("echo", "hi").stdout == b"hi\n"


def test_guest_runs_out_of_memory(msb):
    done = msb.run("dd", "if=/dev/zero", "of=/dev/null", "bs=400M", "count=1", options=["-m", "256M"], timeout=120)
    assert done.returncode in (1, 137), done


def test_fork_bomb(msb):
    """It ends with --timeout at the latest, whatever state the guest is in."""
    start = time.monotonic()
    done = msb.run("sh", "-c", "f() { f & f & wait; }; f", options=["-m", "128M", "--timeout", "20s"], timeout=120)
    assert done.returncode != 0 and time.monotonic() - start < 60, done
