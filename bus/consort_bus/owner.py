"""What may be said of a run by whoever owns it, and by any person with the rights.

A client says it of its own runs, a person, that is a reviewer or an operator, of
any. Everything here is asked, not done: it lies in the inbox when the call
returns, and is done when an entry of the run says so. Saying it twice does no
harm, which is why it is said again when nothing is known of the first time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Literal

from consort_bus.envelope import CONTENT_TYPE, SCHEMA, VERSION, stow
from consort_bus.errors import AccessDenied, BusError, NoAnswer
from consort_bus.publish import PublishRefused
from consort_bus.runs import RunReader
from consort_bus.subjects import IncomingSubject, SenderKind
from consort_shared.codec import MSGPACK, encode
from consort_shared.messages import Cancel, Pause, Redrive, Resolve, Resume, Retry, Submit
from consort_shared.values import Json

__all__ = ["Owner", "Unconfirmed"]

PATIENCE = 30.0
"""Seconds that something is said again and again while the bus does not answer."""
ONE_TRY = 5.0
"""Seconds that one of these tries waits for the bus."""

_SPEAKS_AS: dict[str, SenderKind] = {"client": "client", "reviewer": "person", "operator": "person"}


class Unconfirmed(BusError):
    """The bus did not say whether it has stored a message; saying it again does no harm."""

    exit_code = 3

    def __init__(self, run: str, seconds: float, cause: BusError) -> None:
        super().__init__(
            f"the bus has not confirmed within {seconds:g} s that it has what run {run} was told ({cause}); "
            "it may have it: say it again, with the same run id"
        )
        self.run = run
        self.seconds = seconds


class Owner(RunReader):
    """A reader who may also say something."""

    patience = PATIENCE

    @property
    def speaks_as(self) -> str:
        """How entries name the sender, such as `client.me` or `person.anna`. Raises AccessDenied."""
        return f"{self._kind()}.{self.bus.identity.name}"

    async def cancel(self, run: str, why: str = "", *, force: bool = False) -> int:
        """Ask for a run to be stopped for good; its place in the inbox.

        With `force` nothing more is undone: what is not is on record for whoever does it by hand. Raises BusError.
        """
        return await self._tell(run, Cancel(why=why, force=True) if force else Cancel(why=why))

    async def pause(self, run: str, why: str = "") -> int:
        """Ask that no task of a run starts until it is resumed. Raises BusError."""
        return await self._tell(run, Pause(why=why))

    async def resume(self, run: str) -> int:
        """Ask for a paused run to go on. Raises BusError."""
        return await self._tell(run, Resume())

    async def retry(self, run: str, path: str = "", inputs: dict[str, Json] | None = None) -> int:
        """Ask for failed steps to be done again: the one at `path`, with these `inputs` if given, or all.

        Raises BusError.
        """
        return await self._tell(run, Retry(path=path, inputs=inputs))

    async def resolve(
        self,
        run: str,
        path: str,
        key: str,
        verdict: Literal["done", "redo"],
        value: Json = None,
        *,
        id: str = "",
    ) -> int:
        """Answer whether an effect happened: `done`, with what it gave, or `redo`.

        `id` is that of the try which was looked up, `EffectBegun.id`: an answer that comes late is then never
        taken for one about a later try. Raises BusError.
        """
        return await self._tell(
            run,
            Resolve(path=path, key=key, verdict=verdict, value=value, id=id)
            if id
            else Resolve(path=path, key=key, verdict=verdict, value=value),
        )

    async def _tell(
        self,
        run: str,
        message: Submit | Cancel | Pause | Resume | Retry | Resolve | Redrive,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Store a message in the inbox, trying again while the bus does not answer; its sequence there."""
        subject = str(IncomingSubject(self._kind(), self.bus.identity.name, run))
        body = encode(message)
        loop = asyncio.get_running_loop()
        until = loop.time() + self.patience
        while True:
            try:
                payload, own = await self._wrapped(body)
                left = max(until - loop.time(), 0.05)
                own.update(headers or {})
                return await self._publisher.publish(subject, payload, own, timeout=min(left, ONE_TRY))
            except (NoAnswer, PublishRefused) as exc:
                if isinstance(exc, PublishRefused) and not exc.passing:
                    raise
                pause = random.uniform(0.1, 0.5)  # noqa: S311
                if loop.time() + pause >= until or self.bus.nc.is_closed:
                    raise Unconfirmed(run, self.patience, exc) from exc
            await asyncio.sleep(pause)

    async def _wrapped(self, body: bytes) -> tuple[bytes, dict[str, str]]:
        """A large body goes to the store; persons may store nothing."""
        if self._kind() == "client":
            return await stow(body, self.artefacts)
        return body, {CONTENT_TYPE: MSGPACK, SCHEMA: VERSION}

    def _kind(self) -> SenderKind:
        kind = _SPEAKS_AS.get(self.bus.identity.role)
        if kind is None:
            raise AccessDenied(str(self.bus.identity), "publish to", "in.person", tuple(_SPEAKS_AS))
        return kind
