# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a private MSB_HOME with a busybox image in it, a runner, and a check that a run left nothing behind."""
import os
import pathlib
import pwd
import random
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
MSB = pathlib.Path(os.environ.get("MSB_BUILD", TOP / "build")) / "msb"
IMAGE = "localhost/busybox:1"
SEED = int(os.environ.get("MSB_SEED") or random.randrange(1 << 32))
COUNTS = {"run": 0, "other": 0}


def pytest_report_header():
    try:
        who = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        who = f"uid {os.geteuid()}"
    size = "full sizes" if os.environ.get("MSB_LONG") else "sizes of make check"
    return f"seed {SEED} (again with MSB_SEED={SEED}), {size}, as {who}, back end {os.environ.get('MSB_HYPERVISOR', 'auto')}"


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"seed {SEED}; msb was started {sum(COUNTS.values())} times, {COUNTS['run']} of them for a run")


# Seconds that the files of tests take, roughly, for MSB_SHARD; others: 15. What takes long comes first.
WEIGHTS = {"test_backends": 320, "test_lifecycle": 120, "test_brief": 90, "test_pull_faults": 75, "test_load": 70,
           "test_states": 60, "test_many": 60, "test_state_damage": 50, "test_bad_input": 45, "test_newcomer": 45,
           "test_run": 60, "test_registry": 40, "test_root_disk": 60, "test_terminal": 30, "test_metrics": 30,
           "test_logs": 30, "test_pull_registry": 25, "test_net_table": 35, "test_gateway": 90, "test_network": 45,
           "test_internet": 70}
# Whose subject is the same for every user: where both run (make check as root), the ordinary user leaves them to root.
ONCE = {"test_backends", "test_brief", "test_pull_faults", "test_pull_registry", "test_pull_progress", "test_registry",
        "test_states", "test_many", "test_state_damage", "test_terminal", "test_logs", "test_metrics", "test_cp",
        "test_completion", "test_config", "test_save", "test_standins", "test_clock", "test_session_streams", "test_other_build",
        "test_root_disk", "test_balloon", "test_net_policy", "test_dns", "test_net_table", "test_gateway"}
ONCE_BUT = {"test_lifecycle": ("test_workflow", "test_exec", "test_detached")}


def shard_of(module, modules, count):
    """Files spread over the shards, the longest first, each to the one that has least."""
    load = [0] * count
    for name in sorted(modules, key=lambda n: (-WEIGHTS.get(n, 15), n)):
        least = load.index(min(load))
        if name == module:
            return least
        load[least] += WEIGHTS.get(name, 15)
    return 0


def left_out(item):
    module, test = item.module.__name__, item.function.__name__
    if item.get_closest_marker("long") and not os.environ.get("MSB_LONG"):
        return True
    if item.get_closest_marker("root") and os.geteuid() != 0:
        return True
    return bool(os.environ.get("MSB_ONCE")) and (module in ONCE or test not in ONCE_BUT.get(module, (test,)))


def pytest_collection_modifyitems(config, items):
    """What is for make check-long only is left out, not skipped: it belongs to another command. So is what needs root,
    what somebody else runs (MSB_ONCE), and what belongs to another shard (MSB_SHARD=1/2)."""
    out = [i for i in items if left_out(i)]
    if os.environ.get("MSB_SHARD"):
        mine, count = map(int, os.environ["MSB_SHARD"].split("/"))
        modules = {i.module.__name__ for i in items}
        shards = {m: shard_of(m, modules, count) for m in modules}
        out += [i for i in items if i not in out and shards[i.module.__name__] != mine - 1]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [i for i in items if i not in out]


@pytest.fixture
def dice(request):
    """Random choices of one test, the same again under the same MSB_SEED."""
    return random.Random(f"{SEED} {request.node.name}")


def tree(home):
    """Every path below home but the caches that a first run fills."""
    out = set()
    for folder, dirs, files in os.walk(home):
        out.update(os.path.join(folder, n) for n in dirs + files)
    return out


class Msb:
    def __init__(self, home):
        self.home = home
        self.env = dict(os.environ, MSB_HOME=str(home), MSB_HYPERVISOR=os.environ.get("MSB_HYPERVISOR", "auto"))

    command = [MSB]

    @staticmethod
    def count(args):
        COUNTS["run" if args[:1] == ("run",) else "other"] += 1

    def popen(self, *args, **kw):
        self.count(args)
        kw.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen([*self.command, *args], env=self.env, **kw)

    def __call__(self, *args, timeout=60, **kw):
        self.count(args)
        if "input" not in kw:
            kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        return subprocess.run([*self.command, *args], env=self.env, timeout=timeout, **kw)

    def run(self, *command, options=(), **kw):
        return self("run", *options, IMAGE, "--", *command, **kw)


def processes_of(home):
    """Processes that hold the sandbox folder of this home open or mapped (found by descriptor, not by name)."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}").startswith(str(home)):
                    found.append(int(pid))
                    break
        except OSError:
            continue
    return [p for p in found if p != os.getpid()]


@pytest.fixture(scope="session")
def home(tmp_path_factory, archive):
    path = tmp_path_factory.mktemp("home")
    msb = Msb(path)
    done = msb("load", "-i", str(archive), "-t", IMAGE)
    assert done.returncode == 0, done.stderr
    # What a first run makes and leaves: the templates, the probe's verdict, the list of sandboxes.
    for options in ([], ["--name", "first"]):
        assert msb.run("true", options=options).returncode == 0
    assert msb("rm", "first").returncode == 0
    return path


def made_once(script):
    """What a script of tests/images makes once per machine and keeps. Making it takes root or subordinate ids."""
    done = subprocess.run(["bash", TOP / "tests/images" / script], capture_output=True, text=True)
    if done.returncode and os.geteuid() != 0:
        pytest.skip(f"{script} could not be made as this user: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session")
def python_archive():
    """A small Debian with python3."""
    return made_once("python.sh")


@pytest.fixture(scope="session")
def tools_archive():
    """A Debian with curl, wget, dig, ping, iperf3 and python3."""
    return made_once("tools.sh")


@pytest.fixture(scope="session")
def buildah_archives():
    """The folder of both kinds of archive that buildah writes."""
    return made_once("buildah.sh")


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """Busybox as an OCI archive. MSB_TEST_ARCHIVE: made already, since umoci takes long in the rig."""
    if os.environ.get("MSB_TEST_ARCHIVE"):
        return pathlib.Path(os.environ["MSB_TEST_ARCHIVE"])
    path = tmp_path_factory.mktemp("archive") / "busybox.tar"
    subprocess.run(["bash", TOP / "tests/images/busybox.sh", path], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return path


@pytest.fixture(scope="module")
def boxes_home(tmp_path_factory, archive):
    """For the sandboxes that stay of one file of tests."""
    from sandboxes import prepared
    return prepared(tmp_path_factory.mktemp("boxes"), archive).home


@pytest.fixture
def boxes(boxes_home):
    """msb with such a home; afterwards there is none, and no process or file of one."""
    from sandboxes import Sandboxes, nothing_left
    msb = Sandboxes(boxes_home)
    with nothing_left(msb):
        yield msb
        msb.clear()


@pytest.fixture
def msb(home):
    before = tree(home)
    yield Msb(home)
    assert processes_of(home) == []
    assert tree(home) == before
