"""A secret that a tool needs: named in its declaration, read from the environment when it is used.

The value appears in no definition, answer, log or `repr`. What comes back from outside is
searched for it, because services like to repeat what they were sent.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from consort_agents.tools.errors import SecretMissing, ToolError
from consort_shared.telemetry.redacting import HIDDEN

_SHORTEST = 4
"""Characters below which a value is not searched for: it would be found everywhere."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is found, and the form in which it is sent."""

    name: str
    """of the environment variable"""
    form: str = "{}"
    """what is sent, with `{}` for the secret: `Bearer {}`"""

    def read(self) -> str:
        """The secret itself. Raises SecretMissing."""
        value = os.environ.get(self.name, "")
        if not value:
            raise SecretMissing(self.name)
        return value

    def sent(self) -> str:
        """What is sent. Raises SecretMissing."""
        return self.form.replace("{}", self.read())


def secret(name: str, form: str = "{}") -> Secret:
    """The secret in the environment variable `name`; `form="Bearer {}"` for what is sent around it.

    Raises ToolError for a name that looks like the secret itself.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", name):
        raise ToolError("secret(…) takes the name of an environment variable, such as PETSTORE_TOKEN")
    if "{}" not in form:
        raise ToolError(f"the form of the secret {name} has no {{}} where the secret goes")
    return Secret(name, form)


def without(text: str, secrets: Iterable[str]) -> str:
    """A text in which none of the secrets stands, plain or as URLs and HTTP write them."""
    for form in sorted({form for value in secrets for form in _forms(value)}, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def _forms(value: str) -> set[str]:
    forms = {value, quote(value, safe=""), quote(value)}
    forms.add(base64.b64encode(value.encode()).decode())
    forms.add(value.encode("unicode_escape").decode())
    return {form for form in forms if len(form) >= _SHORTEST}
