"""Starts a process of Consort with one defect in it: `python defective.py DEFECT MODULE ARGUMENTS…`.

    no-token-check       a report for any attempt at a step counts for the one under way
    no-fence             entries are appended whatever stands in the log already
    acknowledge-first    an agent acknowledges a task when it gets it, not when it has reported

Nothing of this is in the product; it shows that the chaos check would notice.
"""

from __future__ import annotations

import importlib
import pkgutil
import runpy
import sys
from collections.abc import Mapping
from typing import Any


def no_token_check() -> None:
    import consort_orchestrator.core as core
    from consort_orchestrator.core.state import Node, Phase, Run

    def any_attempt(run: Run, task: str) -> Node | None:
        node = run.nodes.get(run.tasks.get(task, ""))
        return node if node is not None and node.phase is Phase.GRANTED else None

    for found in pkgutil.iter_modules(core.__path__, "consort_orchestrator.core."):
        module = importlib.import_module(found.name)
        for name in ("node_of_task", "node_in_hand"):
            if hasattr(module, name):
                setattr(module, name, any_attempt)


def no_fence() -> None:
    from consort_bus import append
    from consort_bus.publish import parse_ack

    async def unfenced(
        self: append.Fence,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        entry_id: str,
        timeout: float = 2.0,
        **_: Any,
    ) -> int:
        named = {**(headers or {}), append.ENTRY_HEADER: entry_id}
        answer = await self._wire.request(subject, payload, headers=named, timeout=timeout)
        return parse_ack(subject, answer.data, len(payload)).seq

    append.Fence.append = unfenced  # type: ignore[method-assign,assignment]


def acknowledge_first() -> None:
    from consort_agents.worker import Worker
    from consort_bus.pull import Delivery

    take = Worker._take

    async def hasty(self: Worker, delivery: Delivery) -> None:
        delivery.ack()
        await take(self, delivery)

    Worker._take = hasty  # type: ignore[method-assign]


DEFECTS = {
    "no-token-check": no_token_check,
    "no-fence": no_fence,
    "acknowledge-first": acknowledge_first,
}


if __name__ == "__main__":
    defect, module, *arguments = sys.argv[1:]
    DEFECTS[defect]()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
