"""What agents say of effects, and what people answer when nobody knows.

An agent asks before it does something with consequences outside, and says so
afterwards. One that was begun by another try, of whose end nothing is known, is
done again, taken for done, or put to a person, as its author decided; the person's
answer, or a late word of the first try, lets the step go on.
"""

from __future__ import annotations

from typing import Literal

from consort_orchestrator.core.advance import Advance
from consort_orchestrator.core.said import Said
from consort_orchestrator.core.state import Effected, Node, node_of_task
from consort_shared.entries import Doubted, EffectBegun, EffectSettled, Refused
from consort_shared.messages import Effect, EffectAnswer, Output, Resolve
from consort_shared.plan.wording import listed
from consort_shared.values import INLINE_LIMIT, Json, bytes_digest, canonical

Verdict = Literal["do", "done", "ask", "stop"]


def effect(going: Advance, said: Said, asked: Effect) -> None:
    """Judge a word of an agent on an effect."""
    if asked.phase == "begin":
        verdict, output = _begin(going, asked)
        answer = EffectAnswer(run=going.run.id, task=asked.task, id=asked.id, verdict=verdict, output=output)
        going.orders.append((said.sender.partition(".")[2], answer))
        return
    run = going.run
    path = run.tasks.get(asked.task)
    if path is None:
        going.refused.append((said, f"there is no task {asked.task}"))
        return
    known = run.effects.get((path, asked.key))
    if known is None or known.id != asked.id:
        if asked.phase == "done":
            _stray(going, said, asked)
    elif known.open or (known.verdict == "undone" and asked.phase == "done" and known.by != asked.task):
        # Whoever did it knows better than a person who saw nothing of it.
        output = asked.output if asked.phase == "done" else None
        settled = EffectSettled(path=path, key=asked.key, verdict=asked.phase, output=output, by=asked.task)
        going.emit(settled)


def _begin(going: Advance, asked: Effect) -> tuple[Verdict, Output | None]:
    node = node_of_task(going.run, asked.task)
    if node is None:
        return "stop", None
    known = going.run.effects.get((node.path, asked.key))
    if known is not None and known.verdict == "done":
        return "done", known.output
    if known is not None and (asked.id in known.past or asked.id == known.id):
        # Asked again. Where another try has begun since, or this one has said that it did not do it, it is over.
        return ("do" if known.open and asked.id == known.id else "stop"), None
    if known is None or not known.open or asked.unknown == "redo":
        going.emit(
            EffectBegun(
                path=node.path,
                key=asked.key,
                task=node.task,
                agent=node.agent,
                instance=asked.instance,
                id=asked.id,
            )
        )
        return "do", None
    if asked.unknown == "done":
        going.emit(EffectSettled(path=node.path, key=asked.key, verdict="done", by=node.task))
        return "done", None
    going.emit(_doubt(node, asked.key, known))
    return "ask", None


def _doubt(node: Node, key: str, known: Effected) -> Doubted:
    why = f"`{key}` was begun by {known.agent} as task {known.task}, and nothing is known of its end"
    return Doubted(path=node.path, key=key, task=node.task, agent=node.agent, why=why)


def _stray(going: Advance, said: Said, asked: Effect) -> None:
    """Something was done although another try had taken over, or nobody had allowed it: on record once for a task."""
    if asked.task not in going.run.stray:
        why = f"it did the effect `{asked.key}`, which another try has begun since, or which it never began"
        going.emit(Refused(what="effect", sender=said.sender, task=asked.task, why=why))


def resolve(going: Advance, said: Said, answer: Resolve) -> None:
    """A person's answer, or the owner's, to whether an effect happened."""
    run = going.run
    known = run.effects.get((answer.path, answer.key))
    verdict: Literal["done", "undone"] = "done" if answer.verdict == "done" else "undone"
    if known is None:
        keys = [key for path, key in run.effects if path == answer.path]
        what = f"it has {listed(keys)}" if keys else "it has begun none"
        going.refused.append((said, f"`{answer.path}` has no effect `{answer.key}`; {what}"))
        return
    if answer.id and answer.id != known.id:
        if answer.id not in known.past:  # an answer said again, about a try that is settled, is no news
            why = f"`{answer.path}` has no try {answer.id} of the effect `{answer.key}`"
            going.refused.append((said, why))
        return
    if not known.open:
        if (known.verdict, known.by) != (verdict, said.sender):
            why = f"the effect `{answer.key}` of `{answer.path}` is settled: {known.verdict}, says {known.by}"
            going.refused.append((said, why))
        return
    if verdict == "undone" and node_of_task(run, known.task) is not None:
        why = f"task {known.task} is at the effect `{answer.key}` of `{answer.path}`: wait for its end"
        going.refused.append((said, why))
        return
    output = _given(going, said, answer.value) if verdict == "done" else None
    if output is not None or verdict == "undone":
        settled = EffectSettled(
            path=answer.path, key=answer.key, verdict=verdict, output=output, by=said.sender
        )
        going.emit(settled)


def _given(going: Advance, said: Said, value: Json) -> Output | None:
    """What an effect gave, in a person's words; None when it is refused."""
    try:
        raw = canonical(value)
    except (TypeError, ValueError) as exc:
        going.refused.append((said, f"the value is not JSON: {exc}"))
        return None
    if len(raw) > INLINE_LIMIT:
        why = f"the value has {len(raw)} bytes, at most {INLINE_LIMIT} are allowed"
        going.refused.append((said, why))
        return None
    return Output(value=value, digest=bytes_digest(raw))
