"""Commands in the sandbox, and their ways out of it: each is tried, on real processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from consort_agents.tools.confinement.protections import MEANING
from consort_agents.tools.definition import Caller, ToolAnswer
from consort_agents.tools.errors import ToolError
from consort_agents.tools.sandbox import Limits, Outcome, confined, protections, sandbox_protections
from consort_agents.tools.shell import ShellTool, shell

pytestmark = pytest.mark.slow

ANYBODY = Caller(agent="tester")
PYTHON = next(
    (
        found
        for name in ("/usr/bin/python3", "/usr/local/bin/python3")
        if (found := shutil.which(name)) is not None
    ),
    sys.executable,
)
FEW = Limits(wall=10.0)


@pytest.fixture(scope="module")
def protected() -> set[str]:
    return set(sandbox_protections().by)


def wanted(protected: set[str], *names: str) -> None:
    for name in names:
        if name not in protected:
            pytest.skip(f"this system has no protection of {name}: {sandbox_protections().missing}")


async def python(
    code: str, *, limits: Limits = FEW, network: bool = False, read: tuple[str, ...] = ()
) -> Outcome:
    beside = () if PYTHON.startswith("/usr/") else (sys.prefix, sys.base_prefix)
    return await confined(
        [PYTHON, "-I", "-S", "-c", code], limits=limits, network=network, read=(*beside, *read)
    )


async def told(tool: ShellTool, **arguments: object) -> ToolAnswer:
    return await tool.call(arguments, ANYBODY)


def left_behind(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if mark in " ".join(process.info["cmdline"] or ()) and process.pid != os.getpid():
            found.append(process)
    return found


async def gone(mark: str) -> None:
    """Wait until no process bears the mark. Raises TimeoutError."""
    async with asyncio.timeout(10):
        while left_behind(mark):
            await asyncio.sleep(0.02)


async def test_every_protection_is_found_or_its_lack_explained() -> None:
    """J22: protections are detected and listed."""
    found = await protections()
    assert set(found.by) | set(found.missing) == set(MEANING)
    assert "files" in str(found)


async def test_one_line_makes_a_tool_of_a_command() -> None:
    """F11, S75: a shell command in one line."""
    lines = shell("lines", command="wc -l {text:file}")
    assert lines.definition.kind == "shell"
    assert (lines.definition.risk, lines.definition.idempotent) == ("read", True)
    answer = await told(lines, text="a\nb\nc\n")
    assert (answer.content, answer.is_error) == ("3 text", False)
    upper = shell("upper", command="tr a-z A-Z", stdin="words")
    assert (await told(upper, words="hi")).content == "HI"
    piped = shell("longest", command="printf '%s' {text} | tr ' ' '\\n' | sort | tail -1", shell=True)
    assert (await told(piped, text="b c'; id; a")).content == "id;"
    python = shell(
        "double",
        command="python -c 'import sys; print(int(sys.argv[1])*2)' {n:int}",
        limits=Limits(memory=1 << 31),
    )
    assert (await told(python, n=21)).content == "42"


async def test_bad_arguments_and_failures_are_answers() -> None:
    lines = shell("lines", command="wc -l {name}")
    assert "'name' is a required property" in (await told(lines)).content
    assert "would be taken for an option" in (await told(lines, name="--help")).content
    failing = await told(lines, name="nothing")
    assert failing.is_error
    assert "ended with code 1" in failing.content
    assert "No such file" in failing.content
    assert not (await told(shell("find", command="grep -c x {text:file}", good=(0, 1)), text="y")).is_error
    assert "binary output, 3 bytes" in (await told(shell("nul", command="head -c 3 /dev/zero"))).content
    assert (await told(shell("quiet", command="true"))).content == "(no output)"
    for command, wrong in (
        ("no-such-program x", "there is no program 'no-such-program'"),
        ("cat {a}", "has no b; its arguments are: a"),
    ):
        with pytest.raises(ToolError, match=wrong):
            shell("bad", command=command, arguments={"b": "?"})
    with pytest.raises(ToolError, match="there is no protection everything"):
        shell("bad", command="true", require=("everything",))  # type: ignore[arg-type]


async def test_nothing_outside_the_working_folder_can_be_read(protected: set[str], tmp_path: Path) -> None:
    """J22: file limits; `../../etc/passwd`, a secret beside it, another process's environment."""
    wanted(protected, "files")
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    secret.chmod(0o644)
    tmp_path.chmod(0o755)
    reads = shell("reads", command="cat {name}")
    for name in (
        "/etc/passwd",
        "../../../etc/passwd",
        str(secret),
        f"/proc/{os.getpid()}/environ",
        "/proc/1/environ",
    ):
        answer = await told(reads, name=name)
        assert answer.is_error, name
        assert "hidden" not in answer.content
        assert "root:" not in answer.content
    through_link = await python("import os; os.symlink('/etc/passwd', 'x'); print(open('x').read())")
    assert through_link.code == 1
    given = await confined(["/bin/cat", str(secret)], read=[str(secret)], limits=FEW)
    if (
        os.geteuid() != 0 or given.output
    ):  # pytest's own folder is closed to nobody, where there is no root of its own
        assert given.output == b"hidden"


async def test_nothing_outside_the_working_folder_can_be_written(protected: set[str]) -> None:
    """J22: file limits."""
    wanted(protected, "files")
    mark = f"consort-escaped-{os.getpid()}"
    for folder in ("/tmp", "/var/tmp", "/usr", "..", "/dev/shm"):
        outcome = await python(f"open({folder!r} + '/{mark}', 'w')")
        assert outcome.code == 1, folder
        assert not Path(folder, mark).exists()
    inside = await python("open('a', 'w').write('b'); print(open('a').read())")
    assert inside.output == b"b\n"


async def test_there_is_no_network(protected: set[str]) -> None:
    """J22: network limits; not even this machine."""
    wanted(protected, "network")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2); print('connected')"
        assert (await python(code)).code == 1
        datagram = (
            f"import socket; s = socket.socket(2, 2); s.sendto(b'x', ('127.0.0.1', {port})); print('sent')"
        )
        assert (await python(datagram)).code == 1
        allowed = await python(code, network=True)
        assert allowed.output == b"connected\n", allowed
    assert shell("net", command="true", network=True).definition.risk == "write"


async def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """J22: no key, no credentials of the bus."""
    for name in ("ANTHROPIC_API_KEY", "CONSORT_CREDS", "NATS_URL", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hidden-value")
    outcome = await confined(["/usr/bin/env"], limits=FEW)
    names = {line.partition("=")[0] for line in outcome.output.decode().splitlines()}
    assert names <= {"PATH", "LANG", "HOME", "TMPDIR", "PWD"}
    assert b"hidden-value" not in outcome.output
    descriptors = await python("import os; print(sorted(os.listdir('/proc/self/fd')))")
    if descriptors.code == 0:
        assert descriptors.output in {b"['0', '1', '2', '3']\n"}, "3 is the folder that is being listed"


async def test_a_fork_bomb_is_stopped(protected: set[str]) -> None:
    """J22: a fork bomb ends with its command."""
    mark = f"bomb-{os.getpid()}-{time.monotonic_ns()}"
    code = f"""
import os, time  # {mark}
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
"""
    limits = Limits(wall=1.5, processes=32)
    outcome = asyncio.create_task(python(code, limits=limits))
    if "processes" in protected:
        async with asyncio.timeout(10):
            while len(left_behind(mark)) < 20:
                await asyncio.sleep(0.02)
        assert len(left_behind(mark)) < 60
    assert (await outcome).ended == "time"
    await gone(mark)


async def test_what_runs_away_is_caught() -> None:
    """J22: a grandchild in a session of its own, deaf to SIGTERM, with the pipes still open."""
    mark = f"runaway-{os.getpid()}-{time.monotonic_ns()}"
    code = f"""
import os, signal, time  # {mark}
if os.fork() == 0:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        time.sleep(600)
os._exit(0)
"""
    began = time.monotonic()
    outcome = await python(code)
    assert (outcome.ended, outcome.code) == ("exit", 0)
    assert time.monotonic() - began < 8
    await gone(mark)


async def test_a_command_that_sleeps_and_ignores_signals_is_killed() -> None:
    """J22, F11: hangs end at the time limit."""
    sleeper = shell("sleeper", command="sh -c 'trap \"\" TERM INT HUP; sleep 600; sleep 600'", timeout=0.3)
    began = time.monotonic()
    answer = await told(sleeper)
    assert "did not end within 0.3 s and was killed" in answer.content
    assert time.monotonic() - began < 5


async def test_endless_output_is_cut_and_ended() -> None:
    """F11: 50 MB and more are never held."""
    endless = shell("endless", command="yes hello", limits=Limits(output=100_000), limit=1_000)
    answer = await told(endless)
    assert answer.is_error
    assert answer.content.startswith("endless was killed after 100000 bytes of output:\nhello\nhello")
    assert answer.truncated > 90_000
    assert len(answer.content) < 1_200
    long = await told(shell("long", command="seq 20000", limit=1_000))
    assert not long.is_error
    assert long.truncated > 100_000


async def test_memory_processor_and_files_have_limits() -> None:
    """J22: a memory hog, a busy loop, a file that grows, many files."""
    hog = await python("x = bytearray(1 << 30); print('got it')", limits=Limits(wall=10, memory=512 << 20))
    assert b"MemoryError" in hog.errors
    busy = await python("while True: pass", limits=Limits(wall=20, cpu=1))
    assert (busy.ended, busy.signal) == ("exit", 9)
    large = await python("open('x', 'wb').write(b'x' * (2 << 20))", limits=Limits(wall=10, file_size=1 << 20))
    assert b"File too large" in large.errors
    many = await python("kept = [open(str(n), 'w') for n in range(100)]", limits=Limits(wall=10, files=32))
    assert b"Too many open files" in many.errors


async def test_privileges_cannot_be_had(protected: set[str]) -> None:
    """J22: a low-privilege account, no way to more."""
    wanted(protected, "identity", "processes")
    who = await python("import os; print(os.getuid(), os.geteuid(), os.getgroups())")
    assert not who.output.startswith(b"0 ")
    rights = await python(
        "print([line for line in open('/proc/self/status') if line.startswith(('CapEff', 'NoNew'))])"
    )
    assert b"CapEff:\\t0000000000000000" in rights.output
    assert b"NoNewPrivs:\\t1" in rights.output
    apart = await python("import ctypes; print(ctypes.CDLL(None).unshare(0x10000000))")
    assert apart.output == b"-1\n", "no user namespace of its own, where it would be root"


async def test_other_processes_cannot_be_signalled(protected: set[str]) -> None:
    wanted(protected, "processes")
    with subprocess.Popen(["/bin/sleep", "60"]) as victim:
        outcome = await python(f"import os; os.kill({victim.pid}, 9)")
        assert outcome.code == 1
        assert victim.poll() is None
        victim.kill()


async def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    await python("import os; os.mkdir('locked'); open('locked/x', 'w'); os.chmod('locked', 0)")
    assert os.listdir(tmp_path) == []


async def test_a_cancelled_call_ends_its_command() -> None:
    mark = f"cancelled-{os.getpid()}-{time.monotonic_ns()}"
    running = asyncio.create_task(python(f"import time; time.sleep(600)  # {mark}", limits=Limits(wall=60)))
    async with asyncio.timeout(10):
        while not left_behind(mark):
            await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(mark)


async def test_when_the_agent_is_killed_its_commands_end(tmp_path: Path) -> None:
    """J22: also what ran away, also without a word of the agent's."""
    mark = f"orphan-{os.getpid()}-{time.monotonic_ns()}"
    inner = f"import time; time.sleep(600)  # {mark}-inner"
    code = (
        "import asyncio; from consort_agents.tools.sandbox import confined, Limits\n"
        f"asyncio.run(confined([{PYTHON!r}, '-I', '-S', '-c', {inner!r}], limits=Limits(wall=60)))"
    )
    agent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)})
    async with asyncio.timeout(20):
        while not any(
            "start.py" not in " ".join(p.info["cmdline"])
            for p in left_behind(f"{mark}-inner")
            if p.pid != agent.pid
        ):
            await asyncio.sleep(0.02)
    agent.kill()
    agent.wait()
    await gone(mark)


async def test_a_protection_that_is_required_and_missing_means_no_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """J22: refused, with the reason, where the kernel does not offer it."""
    here = str(Path(__file__).parents[2])
    code = f"""
import asyncio, sys
sys.path[:0] = [{here!r} + "/agents", {here!r} + "/shared", {here!r} + "/bus"]
from consort_agents.tools.shell import shell
from consort_agents.tools.definition import Caller
async def main():
    print((await shell("x", command="echo ran").call({{}}, Caller())).content)
    print((await shell("x", command="echo ran", require=()).call({{}}, Caller())).content)
asyncio.run(main())
"""
    # A user namespace in which no further namespaces can be made stands for a kernel without them.
    closed = 'echo 0 > /proc/sys/user/max_user_namespaces && echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"'
    done = await asyncio.to_thread(
        subprocess.run,
        ["unshare", "-Ur", "sh", "-c", closed, "-", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode != 0 and "unshare" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr}")
    refused, ran = done.stdout.splitlines()
    assert refused.startswith("x was not called: the sandbox of this system has no protection of network")
    assert ran == "ran"
