"""The client: submit a plan or a goal, watch the run, get its result; stop, pause and mend it.

    async with connect() as client:
        run = await client.submit(plan, {"question": "…"})
        print(await client.result(run))

A submission is safe once `submit` returns, whether or not an orchestrator is up.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from consort_bus.chain import Logged
from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.embedded import DEFAULT_FOLDER, credentials_for, running
from consort_bus.envelope import TRACE
from consort_bus.errors import AccessDenied, KeysUnusable
from consort_bus.owner import Owner, Unconfirmed
from consort_bus.runs import ContextValue, LiveProgress, RunReader, RunSummary
from consort_bus.wire import Wire
from consort_shared.ids import new_run_id
from consort_shared.messages import Submit
from consort_shared.plan.goals import plan_for_goal
from consort_shared.plan.model import Plan
from consort_shared.telemetry.contexts import submission
from consort_shared.values import Json

__all__ = [
    "Client",
    "ContextValue",
    "LiveProgress",
    "Logged",
    "RunReader",
    "RunSummary",
    "Unconfirmed",
    "connect",
]


class Client(Owner):
    """Talks to the bus as one client, or with other credentials as a person. Made by `connect`."""

    async def pursue(
        self, goal: str, inputs: Mapping[str, Json] | None = None, *, run: str | None = None
    ) -> str:
        """Hand in a goal without a plan; the run's id. It is planned first, by whoever offers the skill `plan`.

        What the plan may use is given by name in `inputs`. Raises InvalidInput for what is no goal, and otherwise
        as `submit` does.
        """
        return await self.submit(plan_for_goal(goal, inputs), inputs, run=run)

    async def submit(
        self, plan: Plan, inputs: Mapping[str, Json] | None = None, *, goal: str = "", run: str | None = None
    ) -> str:
        """Hand in a plan; the run's id. It is stored when this returns.

        Tried again for `patience` seconds while the bus does not answer. Submitting the same plan again under
        the same `run` id does nothing, so it is safe to repeat. Raises Unconfirmed when nothing is known after
        all; StorageFull and other BusErrors when nothing was stored.
        """
        if self.bus.identity.role != "client":
            raise AccessDenied(str(self.bus.identity), "publish to", "in.client", ("client",))
        run = run or new_run_id()
        with submission(run) as caller:
            message = Submit(plan=plan, inputs=dict(inputs or {}), goal=goal)
            await self._tell(run, message, headers={TRACE: caller} if caller else None)
        return run


@asynccontextmanager
async def connect(
    server: str | None = None,
    credentials: Credentials | Path | str | None = None,
    *,
    folder: Path | str = DEFAULT_FOLDER,
    role: str = "client",
) -> AsyncIterator[Client]:
    """A client of the bus at `server` with its credentials, or of the embedded bus of a folder.

    Without arguments: `CONSORT_SERVER` (or `NATS_URL`) and `CONSORT_CREDS` if they are set, otherwise the bus
    under `.consort`, which is started for as long as the block lasts if it does not run; there credentials of
    `role` are issued to whoever may read the folder. Raises BusError.
    """
    server = server or os.environ.get("CONSORT_SERVER") or os.environ.get("NATS_URL")
    credentials = credentials or os.environ.get("CONSORT_CREDS")
    async with AsyncExitStack() as stack:
        if server is None:
            embedded = await stack.enter_async_context(running(folder))
            server = embedded.url
            known = credentials if credentials is not None else credentials_for(folder, role, "me")
        elif credentials is None:
            raise KeysUnusable(
                "CONSORT_CREDS", "a bus elsewhere needs a credentials file; name it with --creds"
            )
        else:
            known = credentials
        loaded = known if isinstance(known, Credentials) else Credentials.load(known)
        bus = await stack.enter_async_context(open_bus(server, loaded))
        wire = await stack.enter_async_context(Wire(bus.nc, bus))
        yield Client(bus, wire)
