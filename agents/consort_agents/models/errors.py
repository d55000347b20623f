"""What can go wrong when a model is asked.

ModelError                  the call did not give an answer
├── ModelUnusable           it never will, as things are configured
│   ├── NoKey               there is no key, and what works without one
│   ├── KeyRefused          the key is not accepted (401, 403, 402)
│   └── ModelUnknown        there is no such model (404), or no such provider
├── RequestRefused          the request itself is at fault (400, 413, 422)
│   └── ContextExceeded     it is longer than the model takes
├── RateLimited             too many requests or tokens in this minute (429)
├── Overloaded              the provider has no room or is in trouble (500, 503, 504, 529)
├── Unreachable             no connection, or it broke off, also in the midst of a stream
├── TookTooLong             no answer in time
└── ReplayDrift             a recorded run is replayed and something else is asked

Branch on the class, never on the text. No text holds a key.
"""

from __future__ import annotations

from typing import ClassVar

from consort_agents.models.port import SeenLimits


class ModelError(Exception):
    """A model was asked and gave no answer."""

    kind: ClassVar[str] = "model-error"
    """the kind of a failed task that ends with it"""
    passing: ClassVar[bool] = False
    """whether the same request may succeed a little later"""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        request_id: str = "",
        limits: SeenLimits | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        """seconds, as the provider said"""
        self.request_id = request_id
        self.limits = limits


class ModelUnusable(ModelError):
    """No call will succeed as things are configured."""

    kind = "model-unusable"


class NoKey(ModelUnusable):
    """There is no key for a provider that needs one."""


class KeyRefused(ModelUnusable):
    """The provider does not accept the key."""


class ModelUnknown(ModelUnusable):
    """The provider has no such model, or there is no such provider."""


class RequestRefused(ModelError):
    """The request itself is at fault."""

    kind = "model-request"


class ContextExceeded(RequestRefused):
    """The request is longer than the model takes."""

    kind = "model-context"


class RateLimited(ModelError):
    """Too much was asked in this minute."""

    kind = "model-limited"
    passing = True


class Overloaded(ModelError):
    """The provider has no room, or is in trouble."""

    kind = "model-overloaded"
    passing = True


class Unreachable(ModelError):
    """There is no connection, or it broke off."""

    kind = "model-unreachable"
    passing = True


class TookTooLong(ModelError):
    """No answer came in time."""

    kind = "model-timeout"
    passing = True


class ReplayDrift(ModelError):
    """A recorded run is replayed, and something else is asked than was recorded."""

    kind = "replay-drift"
