# SPDX-License-Identifier: Apache-2.0
"""msb self uninstall and msb doctor --fix, in homes of the test's own."""
import os
import pty
import shutil
import stat
import subprocess

import pytest

from conftest import IMAGE, MSB, Msb, tree


@pytest.fixture
def installed(tmp_path):
    """What setup.sh, msb install and use leave, small."""
    user = tmp_path / "user"
    home = user / ".microsandbox"
    for name in ("bin/msb", "bin/msb-image", "bin/msb-gateway", "bin/msb-registry", "bin/mine", "lib/libkrunfw-6.12.1.vmlinux", "lib/mine.so",
                 "share/man/man1/msb.1", "share/man/man1/msb-run.1", "cache/layers/x", "volumes/v/f", "config.json"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("{}")
    os.chmod(home, 0o700)
    line = f'export PATH="{home}/bin:$PATH" # added by msb setup\n'
    (user / ".bashrc").write_text(f"before\n{line}after\n")
    (user / "dotfiles").mkdir()
    (user / "dotfiles/zshrc").write_text(line)
    os.chmod(user / "dotfiles/zshrc", 0o640)
    (user / ".zshrc").symlink_to("dotfiles/zshrc")
    (user / ".profile").write_text(line.replace(".microsandbox", "elsewhere"))
    msb = Msb(home)
    msb.env.update(HOME=str(user))
    assert msb("install", "--no-pull", "--tmp", "-q", "alpine").returncode == 0
    return msb, user


def names(home):
    return {os.path.relpath(p, home) for p in tree(home) if not os.path.isdir(p)}


USERS = {"bin/mine", "lib/mine.so"}
STATE = {"cache/layers/x", "volumes/v/f", "config.json"}


@pytest.mark.parametrize("all_of_it", [False, True])
def test_uninstall(installed, all_of_it):
    msb, user = installed
    before = names(msb.home)
    done = msb("self", "uninstall", "-y", *(["--all"] if all_of_it else []))
    assert done.returncode == 0, done.stderr
    goes, _, stays = done.stdout.decode().partition("This stays")
    gone = before - names(msb.home)
    assert names(msb.home) == USERS | (set() if all_of_it else STATE)
    for name in gone:
        assert f"{msb.home}/{name}" in goes or all_of_it and name in STATE
    assert bool(stays) != all_of_it and all(f"{msb.home}/{n}" in done.stdout.decode() for n in ("cache", "volumes", "config.json"))
    assert (user / ".bashrc").read_text() == "before\nafter\n" and f"{user}/.bashrc" in goes
    assert (user / "dotfiles/zshrc").read_text() == "" and (user / ".zshrc").is_symlink()
    assert stat.S_IMODE((user / "dotfiles/zshrc").stat().st_mode) == 0o640
    assert "elsewhere" in (user / ".profile").read_text()


def test_nothing_is_left_of_what_is_not_the_users(installed):
    msb, _ = installed
    for name in USERS:
        (msb.home / name).unlink()
    assert msb("self", "uninstall", "-y", "--all").returncode == 0
    assert not msb.home.exists()


def on_terminal(msb, answer, *args):
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    done = msb(*args, stdin=theirs)
    os.close(theirs)
    os.close(ours)
    return done


@pytest.mark.parametrize("ask", ["terminal", "pipe"])
def test_not_without_a_yes(installed, ask):
    msb, user = installed
    before = names(msb.home)
    done = on_terminal(msb, b"n\n", "self", "uninstall") if ask == "terminal" else msb("self", "uninstall")
    assert (done.returncode, b"[y/N]" in done.stderr, b"self uninstall -y" in done.stderr) == \
        ((1, True, False) if ask == "terminal" else (2, False, True))
    assert names(msb.home) == before and "added by msb" in (user / ".bashrc").read_text()
    if ask == "terminal":
        assert on_terminal(msb, b"y\n", "self", "uninstall").returncode == 0 and not (msb.home / "bin/msb").exists()


def test_not_while_a_sandbox_runs(msb):
    """Only the refusal: the home is the session's."""
    assert msb("create", "--name", "busy", IMAGE).returncode == 0
    try:
        done = msb("self", "uninstall", "-y", "--all")
        assert done.returncode == 1 and b"busy is running" in done.stderr and b"msb stop busy" in done.stderr
    finally:
        assert msb("rm", "-f", "busy").returncode == 0


def test_the_program_may_remove_itself(installed):
    msb, _ = installed
    shutil.copy(MSB, msb.home / "bin/msb")
    done = subprocess.run([msb.home / "bin/msb", "self", "uninstall", "-y"], env=msb.env, capture_output=True)
    assert done.returncode == 0 and not (msb.home / "bin/msb").exists()


# --- doctor --fix

@pytest.fixture
def loose(tmp_path):
    """A home that others can look into."""
    msb = Msb(tmp_path / "home")
    for folder, mode in (("", 0o755), ("secrets", 0o750), ("cache", 0o755)):
        (msb.home / folder).mkdir(exist_ok=True)
        os.chmod(msb.home / folder, mode)
    return msb


def modes(msb):
    return [stat.S_IMODE((msb.home / f).stat().st_mode) for f in ("", "secrets", "cache")]


def test_modes(loose):
    said = loose("doctor").stdout.decode()
    assert f"chmod 700 {loose.home} (it is 755)" in said and modes(loose) == [0o755, 0o750, 0o755]
    assert loose("doctor", "--fix").returncode == 2 and modes(loose)[0] == 0o755  # no terminal to ask on
    assert on_terminal(loose, b"n\n", "doctor", "--fix").returncode == 1 and modes(loose)[0] == 0o755
    done = loose("doctor", "--fix", "-y")
    assert modes(loose) == [0o700, 0o700, 0o755] and b"chmod 700" in done.stderr, done
    assert done.returncode == loose("doctor").returncode and "can mend" not in done.stdout.decode().split("Platform")[1]
    assert loose("doctor", "--fix").stdout.decode().startswith("There is nothing to mend.")


def test_missing_home(tmp_path):
    msb = Msb(tmp_path / "home")
    done = msb("doctor", "--fix", "-y")
    assert f"make the state folder {msb.home}" in done.stderr.decode() and stat.S_IMODE(msb.home.stat().st_mode) == 0o700


def test_wrong_config_is_a_finding(tmp_path):
    msb = Msb(tmp_path / "home")
    (tmp_path / "c.json").write_text('{"hypervisor": 1}')
    msb.env["MSB_CONFIG_PATH"] = str(tmp_path / "c.json")
    done = msb("doctor")
    assert done.returncode == 1 and "✗ config.json" in done.stdout.decode() and "hypervisor must be" in done.stdout.decode()


@pytest.mark.root
@pytest.mark.parametrize("flag,module,makes,status", [("vmx", "kvm_intel", True, "✓"), ("svm", "kvm_amd", True, "✓"),
                                                      ("svm", "kvm_amd", False, "error:"), ("sse", None, True, None)])
def test_module(tmp_path, flag, module, makes, status):
    """A host without /dev/kvm, seen by this command only; modprobe is ours and notes what it is asked for."""
    msb = Msb(tmp_path / "home")
    (tmp_path / "cpuinfo").write_text(f"flags : fpu {flag}\n")
    modprobe = tmp_path / "modprobe"
    modprobe.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/asked\n{'> /dev/kvm' if makes else ''}\n")
    modprobe.chmod(0o755)
    script = ('mount --make-rprivate / && mount -t tmpfs none /dev && : > /dev/null && mount --bind "$0" /proc/cpuinfo && '
              'exec "$1" doctor --fix -y')
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script, tmp_path / "cpuinfo", MSB], capture_output=True, text=True,
                          env=dict(msb.env, PATH=f"{tmp_path}:{os.environ['PATH']}"), timeout=60, stdin=subprocess.DEVNULL)
    asked = tmp_path / "asked"
    assert (asked.read_text().strip() if asked.exists() else None) == module, done
    if module:
        assert f"modprobe {module}" in done.stderr and status in done.stderr
