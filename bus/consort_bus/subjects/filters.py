"""What readers and consumers ask for: one run, one agent, one host, whatever else the subjects hold."""

from __future__ import annotations

from consort_bus.subjects.messages import DeadSubject
from consort_bus.subjects.parts import DIGEST, SKILL, run_part, shaped, token_part


def api_requests(verb: str) -> str:
    """Requests of one kind, whoever asks.

    A connection must not subscribe to one request twice: the server then counts its right to answer as used up.
    """
    return f"api.{token_part(verb)}.*"


def run_and_kind(subject: str) -> tuple[str, str]:
    """The run and the kind in an entry's subject as the server lists them: quick, for looking through very many."""
    return subject.split(".", 2)[1], subject.rpartition(".")[2]


def run_entries(run: str) -> str:
    """All entries of a run: what the fence is taken over, and what a fold reads."""
    return f"log.{run_part(run)}.entry.>"


def run_hints(run: str) -> str:
    """The same messages as they come by, in the form that readers may subscribe to."""
    return f"log.{run_part(run)}.entry.*.*"


def run_copies(run: str) -> str:
    return f"log.{run_part(run)}.copy.>"


def run_live(run: str) -> str:
    return f"live.{run_part(run)}.>"


def run_context(run: str) -> str:
    return f"$KV.CONTEXT.{run_part(run)}.*"


def dead_of(stream: str, run: str | None) -> str:
    """The letters of a stream that are about one run."""
    return str(DeadSubject(stream, run))


def agent_instances(agent: str) -> str:
    return f"$KV.AGENTS.{token_part(agent)}.*"


def waiting_for(skill: str) -> str:
    return f"$KV.WAITING.{shaped(skill, SKILL, 'skill').replace('.', '/')}.*"


def artefact_chunks(role: str, name: str, digest: str) -> str:
    return f"artefact.{token_part(role)}.{token_part(name)}.{shaped(digest, DIGEST, 'digest')}.*"


def tool_calls_to(host: str) -> str:
    """What a host's consumer takes."""
    return f"tool.call.{token_part(host)}.*.*.*"


def tool_answers_for(agent: str) -> str:
    """Answers to an agent as they come by, in the form that it may subscribe to."""
    return f"tool.answer.*.{token_part(agent)}.*.*"


def journal_of_run(run: str) -> str:
    return f"journal.*.{run_part(run)}.*.*"


def tools_of_run(run: str) -> str:
    """What hosts have on record of one run."""
    return f"tool.done.*.{run_part(run)}.*"


def tool_calls_of_run(run: str) -> str:
    return f"tool.call.*.*.{run_part(run)}.*"


def tool_answers_of_run(run: str) -> str:
    return f"tool.answer.*.*.{run_part(run)}.*"


def agent_task_filters(agent: str) -> tuple[str, str]:
    """What an agent's consumer of the log takes: entries addressed to it, and copies."""
    return f"log.*.entry.{token_part(agent)}.>", f"log.*.copy.{agent}.>"


def shard_filter(shard: int) -> str:
    return f"inbox.{shard}.>"
