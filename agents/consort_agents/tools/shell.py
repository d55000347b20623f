"""A command as a tool, in a sandbox: `shell("lines", command="wc -l {text:file}")`.

Arguments become words of the command and are never read by a shell, unless `shell=True`. The
sandbox gives the command a fresh working folder, little else to see, no network and no
environment. A protection that is required and not to be had means that nothing is run.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import ValidationError

from consort_agents.signatures import sentences
from consort_agents.tools.answers import LONGEST, answer, cut, failed, unfit
from consort_agents.tools.confinement.protections import MEANING, Protection
from consort_agents.tools.confinement.rooms import SYSTEM
from consort_agents.tools.definition import Caller, Definition, Risk, ToolAnswer
from consort_agents.tools.errors import NotProtected, ToolError
from consort_agents.tools.sandbox import Limits, Outcome, confined
from consort_agents.tools.templates import Template, Unfit, script, template
from consort_shared.values import Json

REQUIRED: tuple[Protection, ...] = ("files", "network")
_LONGEST_TROUBLE = 1_500


class ShellTool:
    """A command as a tool."""

    def __init__(
        self,
        definition: Definition,
        command: Template,
        *,
        stdin: str,
        limits: Limits,
        read: Sequence[str],
        network: bool,
        require: Sequence[Protection],
        good: Sequence[int],
        limit: int,
    ) -> None:
        self.definition = definition
        self._command = command
        self._stdin = stdin
        self._limits = limits
        self._read = tuple(read)
        self._network = network
        self._require = tuple(require)
        self._good = frozenset(good)
        self._limit = limit

    def __repr__(self) -> str:
        return f"<tool {self.definition.name}>"

    async def call(self, arguments: Mapping[str, Json], caller: Caller) -> ToolAnswer:
        name = self.definition.name
        if (why := unfit(self.definition.input_schema, arguments)) is not None:
            return failed(f"{name} was not called, its arguments do not fit: {why}")
        try:
            filled = self._command.filled(arguments)
        except Unfit as exc:
            return failed(f"{name} was not called, its arguments do not fit: {exc}")
        outcome = await confined(
            filled.argv,
            limits=self._limits,
            stdin=str(arguments[self._stdin]).encode("utf-8", "replace") if self._stdin else b"",
            files=filled.files,
            variables=filled.variables,
            read=self._read,
            network=self._network,
            require=self._require,
        )
        return self._answer(outcome)

    def _answer(self, outcome: Outcome) -> ToolAnswer:
        name = self.definition.name
        output, errors = _text(outcome.output), _text(outcome.errors)
        written = _tail(f"\n{errors}\n{output}".rstrip())
        match outcome.ended:
            case "unprotected":
                return failed(f"{name} was not called: {NotProtected(outcome.lacking)}")
            case "not-started":
                return failed(f"{name} could not be started: {outcome.trouble or 'the sandbox ended early'}")
            case "time":
                return failed(f"{name} did not end within {self._limits.wall:g} s and was killed{written}")
            case "output":
                shown, missing = cut(output or errors, self._limit, gone=1)
                told = f"{name} was killed after {self._limits.output} bytes of output:\n{shown}"
                return ToolAnswer(content=told, is_error=True, truncated=missing)
            case "exit":
                pass
        if outcome.signal:
            return failed(f"{name} was ended by signal {outcome.signal}{_guess(outcome.signal)}{written}")
        if outcome.code not in self._good:
            return failed(f"{name} ended with code {outcome.code}{written}")
        return answer(output or errors or "(no output)", limit=self._limit)


def shell(
    name: str,
    command: str,
    *,
    description: str = "",
    arguments: Mapping[str, str] | None = None,
    stdin: str = "",
    shell: bool = False,
    read: Sequence[str] = (),
    network: bool = False,
    require: Sequence[Protection] = REQUIRED,
    limits: Limits | None = None,
    good: Sequence[int] = (0,),
    risk: Risk | None = None,
    idempotent: bool | None = None,
    cost: int = 0,
    owner: str = "",
    data_class: str = "public",
    timeout: float = 30.0,
    cache: bool | None = None,
    limit: int = LONGEST,
) -> ShellTool:
    """A tool that runs a command; see `templates` for what it may look like.

    `arguments` describes them, `stdin` names one more that the command reads as its input. `read` are paths that
    the command may read, `network` lets it reach the network; then it can change something outside, and its
    risk is `write` unless said otherwise. `require` names protections without which it is not run, `good` the exit
    codes that mean success. `timeout` is seconds, `limit` characters of an answer. Raises ToolError.
    """
    made = script(command) if shell else template(command)
    program = "/bin/sh" if shell else _program(made, name)
    if not shell:
        made = Template(((program,), *made.words[1:]))
    _check(name, made, dict(arguments or {}), stdin, require, read)
    risk = risk or ("write" if network else "read")
    try:
        definition = Definition(
            name=name,
            description=description or f"Runs `{command}`.",
            input_schema=made.schema(arguments or {}, (stdin,) if stdin else ()),
            kind="shell",
            risk=risk,
            idempotent=risk == "read" if idempotent is None else idempotent,
            cost=cost,
            owner=owner,
            data_class=data_class,
            timeout=timeout,
            cache=risk == "read" if cache is None else cache,
        )
    except ValidationError as exc:
        raise ToolError(f"tool {name!r}: {sentences(exc)}") from exc
    return ShellTool(
        definition,
        made,
        stdin=stdin,
        limits=replace(limits or Limits(), wall=timeout),
        read=[*_shown_for(program), *read],
        network=network,
        require=require,
        good=good,
        limit=limit,
    )


def _program(command: Template, name: str) -> str:
    """Where the program is: beside the interpreter that runs here, or on the PATH. Raises ToolError."""
    asked = "".join(part for part in command.words[0] if isinstance(part, str))
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)))
    found = shutil.which(asked, path=path)
    if found is None:
        raise ToolError(f"tool {name!r}: there is no program {asked!r} on the PATH")
    return os.path.abspath(found)


def _shown_for(program: str) -> list[str]:
    """What has to be seen besides the system for a program to run."""
    if any(program.startswith(f"{folder}/") for folder in SYSTEM):
        return []
    if program.startswith(f"{sys.prefix}/"):
        return [sys.prefix, sys.base_prefix]
    return [program]


def _check(
    name: str,
    command: Template,
    described: Mapping[str, str],
    stdin: str,
    require: Sequence[str],
    read: Sequence[str],
) -> None:
    known = {*command.places, *({stdin} if stdin else ())}
    if unknown := [argument for argument in described if argument not in known]:
        offered = ", ".join(sorted(known)) or "none"
        raise ToolError(
            f"tool {name!r}: the command has no {', '.join(unknown)}; its arguments are: {offered}"
        )
    if unknown := [protection for protection in require if protection not in MEANING]:
        raise ToolError(
            f"tool {name!r}: there is no protection {', '.join(unknown)}; there are {', '.join(MEANING)}"
        )
    if gone := [path for path in read if not os.path.exists(path)]:
        raise ToolError(f"tool {name!r}: there is no {', '.join(gone)} to read")


def _guess(number: int) -> str:
    """What a signal of the kernel's usually means here."""
    return {
        9: " (perhaps out of time on the processor)",
        11: " (perhaps out of memory)",
        25: " (a file grew too large)",
    }.get(number, "")


def _text(raw: bytes) -> str:
    if b"\0" in raw:
        return f"[binary output, {len(raw)} bytes, is not shown]"
    return raw.decode("utf-8", "replace").rstrip("\n")


def _tail(text: str) -> str:
    return text if len(text) <= _LONGEST_TROUBLE else f"\n[…]{text[-_LONGEST_TROUBLE:]}"
