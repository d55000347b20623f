"""docs/deploy.md says what is there: counts, files, sentences, links. Its steps are run by test_hosts.

S114: what ten agents take, in processes, ports, files and commands, is stated and small.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from deploy_kit import COMPOSE, ROOT, clean_environment
from hosts_kit import SCP, Block, blocks

from consort_bus import connection, credentials, tls
from consort_bus.elsewhere import CLUSTER_PORT

PAGE = ROOT / "docs" / "deploy.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = blocks(PAGE)
TEN = [f"a{number}" for number in range(1, 11)]


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def stated(title: str) -> dict[str, int]:
    """The counts of a table, by its first column."""
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \|", section(title), re.MULTILINE)
    return {name: int(count) for name, count in rows}


def with_ten(text: str) -> str:
    """A block in which the five agents are ten."""
    text = re.sub(r"agent\.researcher .*", " ".join(f"agent.{name}" for name in TEN), text)
    return re.sub(r"in researcher .*;", f"in {' '.join(TEN)};", text)


def commands(block: Block) -> list[str]:
    """What a person types: a line with all that it goes on over; a loop is one."""
    text = re.sub(r"<<'(\w+)'\n.*?^\1$", "", block.text.replace("\\\n", " "), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(
        r"^for .*?^done$", lambda loop: " ".join(loop[0].split()), text, flags=re.MULTILINE | re.DOTALL
    )
    return [line for line in text.splitlines() if line.strip()]


@pytest.mark.slow
def test_ten_agents_take_what_the_page_says(tmp_path: Path) -> None:
    """S114: the page's own commands, for ten agents instead of five; the files that they make are counted."""
    counts = stated("What there is to run")
    bin_, desk = tmp_path / "bin", tmp_path / "desk"
    for folder in (bin_, desk / "examples", tmp_path / "hub", tmp_path / "work"):
        folder.mkdir(parents=True)
    (bin_ / "scp").write_text(SCP)
    (bin_ / "scp").chmod(0o755)
    told = clean_environment(MACHINES=str(tmp_path))
    told["PATH"] = f"{bin_}{os.pathsep}{told['PATH']}"
    making = [block for block in BLOCKS if block.machine == "desk"][:-1]
    script = "\n".join(with_ten(block.text) for block in making)
    done = subprocess.run(
        ["bash", "-euc", script], cwd=desk, env=told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

    def files(folder: Path, *without: str) -> list[Path]:
        found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
        return [path for path in found if path.parts[0] not in without]

    assert len(files(tmp_path / "hub" / "consort")) == counts["files on `hub`"]
    assert len(files(tmp_path / "work" / "consort", "examples")) == counts["files on `work`"]
    kept = [path for path in files(desk, "hub", "work", "examples") if path.parent != Path(".consort/keys")]
    assert (desk / ".consort" / "keys" / "authority.json").exists()
    assert len(kept) + 1 == counts["files to keep on `desk`"], kept

    typed = [line for block in BLOCKS for line in commands(block)]
    until = next(at for at, line in enumerate(typed) if "consort submit" in line)
    assert until + 1 == counts["commands until the first run"]


def test_processes_and_ports_are_those_of_the_steps() -> None:
    counts = stated("What there is to run")
    started = [line for block in BLOCKS for line in commands(block) if "&" in line.split("&&")[-1]]
    alone = [line for line in started if not line.startswith("for ")]
    [loop] = [line for line in started if line.startswith("for ")]
    assert len(re.findall(r"\w+", with_ten(loop).partition(" in ")[2].partition(";")[0])) == len(TEN)
    assert len(alone) + len(TEN) == counts["processes"]
    config = next(block.text for block in BLOCKS if "nats.conf" in block.text)
    ports = re.findall(r"^(?:port|http|https|listen): ?(\S+)", config, re.MULTILINE)
    assert (
        len([port for port in ports if not port.startswith("localhost")])
        == counts["ports that other machines reach"]
    )
    assert counts["programs"] == len({line.split()[0] for line in alone})


def test_the_server_of_the_steps_is_set_as_the_file_that_ships() -> None:
    def settings(text: str) -> set[str]:
        wanted = r"\b(port|http|max_payload|max_file_store|sync_interval|include)[: ] *([\w:.]+)"
        return {" ".join(found) for found in re.findall(wanted, re.sub(r"#.*", "", text))}

    shown = next(block.text for block in BLOCKS if "nats.conf" in block.text)
    assert settings(shown.partition("<<'END'")[2].partition("END")[0]) == settings(
        (COMPOSE / "nats.conf").read_text()
    )


def test_every_sentence_that_the_page_explains_can_be_said() -> None:
    code = "".join(Path(str(module.__file__)).read_text() for module in (connection, credentials, tls))
    code = re.sub(r'"\s*\n?\s*f?"', "", re.sub(r"\{[^}]*\}", "…", code))
    rows = re.findall(r"^\| (.+?) \| .+ \|$", section("When it does not connect"), re.MULTILINE)
    assert len(rows) > 8
    for row in rows[2:]:
        said = re.sub(r"agent\.checker|an agent|ca\.pem|(?<=authority) ", "…", row)
        for part in (part.strip(" ;") for part in re.split("…", said)):
            assert part in code, row


def test_what_the_page_names_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (PAGE.parent / link).exists(), link
    units = {unit.name.removesuffix(".service") for unit in (COMPOSE / "systemd").glob("*.service")}
    for line in re.findall(r"systemctl (?:enable --now|reload) (.*)", section("As services")):
        assert {re.sub(r"@.*", "@", name) for name in line.split()} <= units
    ports = re.findall(r"^\| (\d+)", section("Ports"), re.MULTILINE)
    assert {"4222", str(CLUSTER_PORT)} <= set(ports)
    modules = re.findall(r"python -m (benchmarks\.\w+)", TEXT)
    assert modules
    for module in modules:
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()
