"""What the owner of a run and people may want of it: cancel, pause, resume, try again, settle an effect.

And what agents answer to the orders that follow. Wanting what is so already changes
nothing; what cannot be is refused, with the reason.
"""

from __future__ import annotations

from typing import assert_never

from consort_orchestrator.core.advance import Advance
from consort_orchestrator.core.course import irreparable, stops, went_on_without
from consort_orchestrator.core.effects import resolve
from consort_orchestrator.core.ending import end_run, force_end, hold
from consort_orchestrator.core.said import Said, Steering
from consort_orchestrator.core.state import Node, Phase, Role, Run, node_in_hand
from consort_shared.entries import Forced, Heeded, Paused, Reopened, Resumed
from consort_shared.messages import Cancel, Heed, Pause, Resolve, Resume, Retry
from consort_shared.plan.wording import did_you_mean, listed

NO_SUCH_RUN = "there is no such run"


def steer(going: Advance, said: Said, message: Steering) -> None:
    """Judge what the owner or a person wants of the run."""
    run = going.run
    if run.plan is None and run.finished is None:
        going.refused.append((said, NO_SUCH_RUN))
    elif said.sender.startswith("client.") and said.sender != run.client and run.plan is not None:
        verb = {"retry": "try it again", "resolve": "settle its effects"}.get(
            message.say, f"{message.say} it"
        )
        going.refused.append((said, f"the run is {run.client}'s, only they or a reviewer may {verb}"))
    else:
        _steer(going, said, message)


def _steer(going: Advance, said: Said, message: Steering) -> None:
    match message:
        case Cancel():
            _cancel(going, said, message)
        case Pause():
            _pause(going, said, message)
        case Resume():
            _resume(going, said)
        case Retry():
            _retry(going, said, message)
        case Resolve():
            resolve(going, said, message)
        case _:
            assert_never(message)


def _goes_on(going: Advance, said: Said) -> bool:
    finished = going.run.finished
    if finished is not None:
        going.refused.append((said, f"the run has ended: {finished.state}"))
    return finished is None


def _cancel(going: Advance, said: Said, message: Cancel) -> None:
    run, why = going.run, message.why or f"cancelled by {said.sender}"
    if run.finished is not None and run.finished.state == "cancelled" and run.finished.why.startswith(why):
        return  # by just that message
    forced = Forced(by=said.sender, why=message.why) if message.force else None
    if run.forced is not None and run.forced == forced:
        return  # likewise
    if not _goes_on(going, said):
        return
    if run.ending is None:
        end_run(going, "cancelled", why, said.sender, forced=forced)
    elif forced is not None and run.forced is None:
        force_end(going, forced)


def _pause(going: Advance, said: Said, message: Pause) -> None:
    run = going.run
    if _too_late(run, said) or not _goes_on(going, said):
        return
    if run.ending is not None:
        going.refused.append((said, f"the run is ending: {run.ending.why}"))
    elif run.paused is None:
        asked = {"asked": said.at} if said.at else {}
        going.emit(Paused(by=said.sender, why=message.why, **asked))
        hold(going, on=True)


def _resume(going: Advance, said: Said) -> None:
    """Also of a run that is not paused: the pause that this ends may have been overtaken on its way."""
    run = going.run
    if _too_late(run, said) or not _goes_on(going, said):
        return
    if run.paused is not None:
        going.emit(Resumed(by=said.sender, asked=said.at) if said.at else Resumed(by=said.sender))
        hold(going, on=False)
        going.look_round()
    elif said.at and run.ending is None:
        going.emit(Resumed(by=said.sender, asked=said.at))


def _too_late(run: Run, said: Said) -> bool:
    """Whether it was asked for before the pause, or the end of it, that counts; or is that very message again."""
    return bool(said.at) and said.at <= run.steered


# --- trying again


def _retry(going: Advance, said: Said, message: Retry) -> None:
    run = going.run
    why = irreparable(run)
    paths: list[str] = []
    if not why:
        paths, why = _one(run, message.path) if message.path else _all(run)
    if not why and message.inputs is not None and not message.path:
        why = "inputs are those of one step: name it"
    if why:
        if not _wanted_before(run, said, message):
            going.refused.append((said, why))
        return
    for path in paths:
        going.emit(Reopened(path=path, by=said.sender, inputs=message.inputs))
    going.look_round()


def _wanted_before(run: Run, said: Said, message: Retry) -> bool:
    """Whether this is what the same sender wanted before, and is under way."""
    if run.finished is not None or run.ending is not None:
        return False
    if message.path:
        return run.reopened.get(message.path) == said.sender
    return said.sender in run.reopened.values()


def _all(run: Run) -> tuple[list[str], str]:
    """Every task that failed and may be done again, or why there is none."""
    failed = [node for node in run.nodes.values() if node.phase is Phase.FAILED and node.role is Role.TASK]
    if not failed:
        return [], "no step has failed"
    paths = [node.path for node in failed if not _final(run, node)]
    return paths, "" if paths else f"nothing can be tried again: {_final(run, failed[0])}"


def _one(run: Run, path: str) -> tuple[list[str], str]:
    node = run.nodes.get(path)
    if node is None:
        hint = did_you_mean(path, [other for other in run.nodes if other])
        failed = [other.path for other in run.nodes.values() if other.phase is Phase.FAILED]
        return [], f"there is no step `{path}`{hint or f'; failed have {listed(failed)}'}"
    if node.phase is not Phase.FAILED:
        return [], f"`{path}` has not failed: it is {node.phase.value}"
    return [path], _final(run, node)


def _final(run: Run, node: Node) -> str:
    """Why an instance that failed cannot be tried again, or nothing."""
    if node.role is not Role.TASK:
        inside = [
            other.path
            for other in run.nodes.values()
            if other.phase is Phase.FAILED
            and other.role is Role.TASK
            and other.path.startswith((f"{node.path}.", f"{node.path}["))
        ]
        return f"`{node.path}` is no task; in it failed {listed(inside)}"
    if not node.attempts:
        source = next((path for path, others in run.sharing.items() if node.path in others), "")
        if source:
            return f"`{node.path}` shares the result of `{source}`: try that again"
        return f"`{node.path}` cannot be tried again: it never became a task: {node.why}"
    around = went_on_without(run, node)
    return f"`{around}` went on without `{node.path}`, and is done" if around else ""


# --- acknowledgements


def heed(going: Advance, said: Said, message: Heed) -> None:
    """An agent's answer to an order, kept once; the answer to an order to stop ends the attempt."""
    run = going.run
    if message.task not in run.tasks:
        going.refused.append((said, f"there is no task {message.task}"))
        return
    if (message.task, message.order, message.how) in run.heeded:
        return
    path = run.tasks[message.task]
    node = run.nodes[path]
    if message.order == "stop":
        counts = stops(message.how) and node.task == message.task and _was_told_to_stop(node)
    else:
        counts = not stops(message.how) and node_in_hand(run, message.task) is not None
    if counts:
        fact = Heeded(
            path=path,
            task=message.task,
            agent=node.agent,
            instance=message.instance,
            order=message.order,
            how=message.how,
        )
        going.end(fact, path) if node.phase is Phase.STOPPING else going.emit(fact)


def _was_told_to_stop(node: Node) -> bool:
    """Also one that was given up before it answered."""
    return node.phase is Phase.STOPPING or (node.phase is Phase.CANCELLED and bool(node.task))
