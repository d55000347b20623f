"""What an operator does to shared limits: look at them, set them, forget what was learned.

The bucket is the truth: what is set here holds for every process from its next call on, and
stays until it is set again. A provider that tells lower limits is believed all the same.
"""

from __future__ import annotations

from collections.abc import Callable

from consort_bus.connection import Bus
from consort_bus.owner import Owner
from consort_bus.rates import Known, Rates
from consort_bus.wire import Wire
from consort_shared.errors import InvalidInput
from consort_shared.ids import is_token
from consort_shared.rates import Breaker, Limits, Rate

__all__ = ["Limiting", "UnknownKey"]


class UnknownKey(InvalidInput):
    """Nothing is known of a key."""

    def __init__(self, key: str, there: list[str]) -> None:
        known = f"known are {', '.join(there)}" if there else "there is none yet"
        super().__init__(f"nothing is known of limits of {key!r}; {known}")
        self.key = key


class Limiting(Owner):
    """What an operator does to limits."""

    def __init__(self, bus: Bus, wire: Wire) -> None:
        super().__init__(bus, wire)
        self._rates = Rates(wire, self._publisher)

    async def limits(self) -> dict[str, Rate]:
        """Everything that is known, by key. Raises BusError."""
        return await self._rates.all()

    async def set_limits(self, key: str, limits: Limits) -> Rate:
        """Set what is allowed under a key, whole; what refusals taught before is forgotten.

        Raises InvalidInput for a key that cannot be one, BusError.
        """
        if not is_token(key):
            raise InvalidInput(
                f"{key!r} cannot name shared limits: lower-case letters, digits, - and _, at most 32"
            )
        told = {"limits": limits, "set_by": self.speaks_as, "eased": 1.0}

        def decide(rate: Rate) -> Rate:
            guessed = rate.learned is not None and rate.learned.how == "refused"
            return rate.model_copy(update={**told, **({"learned": None} if guessed else {})})

        return await self._changed(key, await self._rates.read(key), decide)

    async def reset_limits(self, key: str, *, limits_too: bool = False) -> None:
        """Forget what was learned of a key and let nobody wait for it: refusals, breaker, who waits.

        `limits_too` forgets what was set as well. Raises UnknownKey, BusError.
        """
        known = await self._rates.read(key) if is_token(key) else Known(Rate(), 0)
        if known.revision == 0:
            raise UnknownKey(key, list(await self.limits()))
        if limits_too:
            await self._rates.delete(key)
            return
        await self._changed(
            key,
            known,
            lambda rate: Rate(limits=rate.limits, set_by=rate.set_by, held=rate.held, breaker=Breaker()),
        )

    async def _changed(self, key: str, known: Known, decide: Callable[[Rate], Rate]) -> Rate:
        stored, _ = await self._rates.change(key, known, lambda rate: (decide(rate), None))
        return stored.rate
