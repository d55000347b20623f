"""What somebody orders a run to do, and what came of it.

An order is a message: it is done when an entry of the run says so, and refused when
the message is found among the dead letters. Whoever orders is an operator on the
bus of a folder, and elsewhere whoever the credentials say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from consort_bus.client import Client
from consort_bus.errors import AccessDenied
from consort_bus.operator import NotAllowed, Operator
from consort_orchestrator.cli.follow import Picture
from consort_orchestrator.cli.opening import client_of
from consort_orchestrator.cli.options import Place
from consort_shared.entries import Fact
from consort_shared.errors import InvalidInput, UnknownRun

ROLE = "operator"
PATIENCE = 10.0
"""Seconds that the answer to an order is waited for."""
LOOK_EVERY = 0.3
"""Seconds between two looks at the dead letters of the run."""


@asynccontextmanager
async def operator_of(place: Place) -> AsyncIterator[Operator]:
    """An operator of the bus. Raises InvalidInput for credentials of another role, BusError."""
    async with client_of(place, role=ROLE) as client:
        require_operator(client)
        yield Operator.of(client)


def require_operator(client: Client) -> None:
    """Raises InvalidInput for a client with credentials of another role."""
    identity = client.bus.identity
    if identity.role != ROLE:
        raise InvalidInput(
            f"this takes the credentials of an operator, and these are of {identity}; "
            "`consort access issue operator NAME --out FILE` makes some where the bus was set up"
        )


async def picture_of(client: Client, run: str) -> Picture:
    """A run as it stands; an empty picture of one that is not on the log yet. Raises BusError."""
    picture = Picture.of(run)
    with suppress(UnknownRun):
        for logged in await client.entries(run):
            picture.take(logged)
    return picture


def require_owner(client: Client, picture: Picture) -> None:
    """Raises InvalidInput for a client that did not hand the run in, AccessDenied for who may say nothing."""
    who, owner = client.speaks_as, picture.run.client
    if who.startswith("client.") and owner and who != owner:
        raise InvalidInput(
            f"run {picture.run.id} is {owner}'s, and these credentials are of {who}; "
            "an operator may do it to any run: `consort access issue operator NAME --out FILE`"
        )


def require_open(client: Client, picture: Picture, verb: str) -> None:
    """Raises InvalidInput for a run that has ended or is another's; `verb` is what cannot be done to it."""
    require_owner(client, picture)
    finished = picture.run.finished
    if finished is not None:
        again = "; `consort retry` tries its failed steps again" if finished.state == "failed" else ""
        raise InvalidInput(
            f"run {picture.run.id} cannot be {verb}: it has ended already, it is {finished.state}{again}"
        )


async def heard(
    client: Client,
    picture: Picture,
    asked: int,
    over: Callable[[Fact], bool],
    patience: float = PATIENCE,
) -> bool:
    """Take what happens to a run after an order, until `over` says so of a fact.

    False when that takes longer than `patience` seconds. `asked` is the order's place in the inbox. Raises
    NotAllowed when an orchestrator refuses the order, BusError.
    """
    reading = asyncio.ensure_future(_read(client, picture, over))
    looking = asyncio.ensure_future(_refused(client, picture.run.id, asked))
    try:
        await asyncio.wait({reading, looking}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            reading.result()
            return True
        if looking.done():
            raise NotAllowed(looking.result())
        return False
    finally:
        for task in (reading, looking):
            task.cancel()
        await asyncio.gather(reading, looking, return_exceptions=True)


async def _read(client: Client, picture: Picture, over: Callable[[Fact], bool]) -> None:
    async for logged in client.watch(picture.run.id, after=picture.run.n, beyond=True):
        picture.take(logged)
        done = [over(fact) for fact in logged.entry.facts]  # each of them is looked at
        if any(done):
            return


async def _refused(client: Client, run: str, asked: int) -> str:
    """Why the order is refused, as soon as it is; never for those who may not read dead letters."""
    operator = Operator.of(client)
    while True:
        try:
            why = await operator.refusal(run, asked)
        except AccessDenied:
            await asyncio.Event().wait()
        else:
            if why is not None:
                return why
        await asyncio.sleep(LOOK_EVERY)
