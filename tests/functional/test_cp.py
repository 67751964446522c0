# SPDX-License-Identifier: Apache-2.0
"""Files between host and sandbox: msb cp, --copy, --script, --mkdir, --rm-path, --tmpfs (contract 1.3, 1.8, 1.9)."""
import os
import stat
import subprocess

import pytest

from conftest import IMAGE, Msb
from leftovers import Census

NAMES = ["plain", "with space", "Grüße", "new\nline", "-dash", "star*"]


@pytest.fixture(scope="module")
def box(request, tmp_path_factory, archive):
    """One sandbox for the module, made with everything that comes before its first start."""
    home = tmp_path_factory.mktemp("cp") / "home"
    folder = tmp_path_factory.mktemp("cp-host")
    tree = make_tree(folder / "tree")
    script = folder / "setup.sh"
    script.write_text("#!/bin/sh\necho \"setup: $*\"\n")
    msb = Msb(home)
    assert msb("load", "-i", archive, "-t", IMAGE).returncode == 0
    assert msb("create", "--name", "first", IMAGE).returncode == 0 and msb("rm", "-f", "first").returncode == 0
    census = Census(home)
    made = msb("create", "--name", "box", "--script", f"setup:{script}", "--script", r"two=echo one\necho \"two\"",
               "--script-raw", "raw=#!/bin/sh\necho 'a\\nb'", "--copy", f"{tree}:/opt/deep/tree", "--copy",
               f"{script}:/opt/", "--mkdir", "/data/made", "--rm-path", "/bin/sleep", "--tmpfs",
               "/scratch:3M:noexec,mode=0711", IMAGE, timeout=120)
    assert made.returncode == 0, made.stderr
    yield msb, tree
    assert msb("rm", "-f", "box").returncode == 0
    census.check()


def make_tree(top):
    (top / "sub/deeper").mkdir(parents=True)
    for i, name in enumerate(NAMES):
        path = top / ("sub" if i % 2 else ".") / name
        path.write_bytes(os.urandom(i * 40_000))
        os.utime(path, (1_000_000_000 + i, 1_100_000_000 + i))
        path.chmod(0o600 + i)
    (top / "sub/deeper/link").symlink_to("../../plain")
    (top / "sub/deeper/dangling").symlink_to("nothing")
    (top / "sub/deeper").chmod(0o750)
    return top


def describe(top):
    seen = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            what = os.readlink(path) if stat.S_ISLNK(st.st_mode) else open(path, "rb").read() if name in files else None
            mode = None if stat.S_ISLNK(st.st_mode) else stat.S_IMODE(st.st_mode)
            seen[os.path.relpath(path, top)] = (mode, what, int(st.st_mtime) if name in files and mode else None)
    return seen


@pytest.mark.show_03_1
def test_made_before_the_start(box):
    msb, tree = box
    run = lambda *words: msb("exec", "box", "--", *words).stdout.decode()  # noqa: E731
    assert run("setup", "1 2", "3") == "setup: 1 2 3\n"
    assert run("two") == "one\ntwo\n"
    assert run("raw") == "a\\nb\n"
    assert run("sh", "-lc", "setup x") == "setup: x\n"
    assert run("sh", "-c", "ls -d /data/made; ls /bin/sleep 2>/dev/null; cat /opt/setup.sh | wc -l") == "/data/made\n2\n"
    assert "3.0M" in run("df", "-h", "/scratch") and run("stat", "-c", "%a", "/scratch") == "711\n"
    assert run("sh", "-c", "cd /opt/deep/tree && find . -exec echo x \\; | wc -l").strip() == str(len(describe(tree)) + 1)


@pytest.mark.show_03_1
def test_there_and_back(box, tmp_path):
    msb, tree = box
    assert msb("cp", tree, "box:/srv").returncode == 0
    assert msb("cp", "box:/srv", tmp_path / "back").returncode == 0
    assert describe(tmp_path / "back") == describe(tree)
    assert msb("cp", "box:/opt/deep/tree", str(tmp_path) + "/").returncode == 0
    assert describe(tmp_path / "tree") == describe(tree)
    # Into a folder that is there, as a name that is not, over a file that is there.
    assert msb("cp", tree / "plain", "box:/tmp").returncode == 0
    assert msb("cp", tree / "sub/Grüße", "box:/tmp/plain").returncode == 0 if (tree / "sub/Grüße").exists() else True
    assert msb("cp", "box:/tmp/plain", tmp_path / "one").returncode == 0
    assert msb("cp", "box:/proc/version", tmp_path / "version").returncode == 0
    assert (tmp_path / "version").read_text().startswith("Linux version")


@pytest.mark.show_03_1
@pytest.mark.parametrize("words, status, said", (
    (["box:/nope", "."], 1, "/nope"), (["box:/dev/null", "."], 1, "device /dev/null"), (["./nope", "box:/tmp"], 1, "./nope"),
    (["box:relative", "."], 2, "absolute"), (["a", "b"], 2, "in a sandbox"), (["box:/a", "box:/b"], 2, "host"),
    (["box:/etc/hosts"], 2, "destination"), (["none:/etc/hosts", "."], 1, "no sandbox named none"),
    (["box:/etc/hosts", "/nowhere/at/all/x"], 1, "/nowhere/at/all")))
def test_refused(box, tmp_path, words, status, said):
    msb, _ = box
    done = msb("cp", *words, cwd=tmp_path)
    assert done.returncode == status and said in done.stderr.decode(), done
    assert list(tmp_path.iterdir()) == []


@pytest.mark.show_03_1
def test_a_guest_cannot_lead_out(box, tmp_path):
    """Links that lead out of the copy are left out with a warning; nothing is written through those that are there."""
    msb, _ = box
    assert msb("exec", "box", "--", "sh", "-c", "mkdir /evil && cd /evil && ln -s /etc/passwd abs && ln -s ../../x up && "
               "mkdir in && ln -s ../in/ok in/fine && echo data > in/ok && chmod 6755 in/ok").returncode == 0
    done = msb("cp", "box:/evil", tmp_path / "evil")
    assert done.returncode == 0 and done.stderr.count(b"left out") == 2, done
    assert sorted(p.name for p in (tmp_path / "evil").iterdir()) == ["in"]
    assert os.readlink(tmp_path / "evil/in/fine") == "../in/ok"
    assert stat.S_IMODE(os.stat(tmp_path / "evil/in/ok").st_mode) == 0o755  # not set-user-ID: it is ours now
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap/in").symlink_to(outside)
    done = msb("cp", "box:/evil", tmp_path / "trap/evil")
    assert done.returncode == 0
    (tmp_path / "trap2").mkdir()
    (tmp_path / "trap2/evil").mkdir()
    (tmp_path / "trap2/evil/in").symlink_to(outside)
    done = msb("cp", "box:/evil", tmp_path / "trap2")
    assert done.returncode == 1 and list(outside.iterdir()) == [], done


@pytest.mark.show_03_1
def test_big_and_interrupted(box, tmp_path):
    msb, _ = box
    big = tmp_path / "big"
    with open(big, "wb") as f:
        for _ in range(48):
            f.write(os.urandom(1 << 20))
    assert msb("cp", big, "box:/root/").returncode == 0
    assert msb("cp", "box:/root/big", tmp_path / "again").returncode == 0
    assert subprocess.run(["cmp", big, tmp_path / "again"]).returncode == 0
    assert msb("exec", "box", "--", "rm", "/root/big").returncode == 0
    child = msb.popen("cp", big, "box:/root/half")
    child.kill()
    child.wait()
    assert msb("exec", "box", "--", "echo", "well").stdout == b"well\n"


@pytest.mark.show_03_1
def test_starts_what_is_stopped(box, tmp_path):
    msb, _ = box
    assert msb("stop", "box").returncode == 0
    assert msb("cp", "box:/opt/setup.sh", tmp_path).returncode == 0
    assert b'"Stopped"' in msb("ls", "--format", "json").stdout
    assert msb("start", "box").returncode == 0
    assert msb("exec", "box", "--", "setup", "again").stdout == b"setup: again\n"
