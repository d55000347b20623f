"""How what a tool gave becomes an answer: as text for a model, cut to a length, without secrets.

Errors are answers. Their text says what happened and, where it is known, what would be right;
it holds no traceback and nothing that looks like a secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from consort_agents.tools.definition import ToolAnswer
from consort_shared.telemetry.redacting import redacted_text
from consort_shared.values import Json

LONGEST = 50_000
"""Characters of content that an answer may have."""
LONGEST_ERROR = 2_000


def answer(value: Json, *, limit: int = LONGEST) -> ToolAnswer:
    """A value as an answer: text as it is, everything else as JSON. Raises ValueError, TypeError for what is none."""
    content = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
    sound = writable(content)
    shown, truncated = cut(sound, limit)
    return ToolAnswer(
        content=shown, value=value if not truncated and sound is content else None, truncated=truncated
    )


def failed(text: str) -> ToolAnswer:
    """An error as an answer."""
    return ToolAnswer(content=writable(redacted_text(text)[:LONGEST_ERROR]), is_error=True)


def writable(text: str) -> str:
    """A text that can be written down: halves of characters, as file names have them, are no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def cut(text: str, limit: int, gone: int = 0) -> tuple[str, int]:
    """A text of at most `limit` characters and a note, and how many are missing; `gone` were lost before."""
    missing = max(0, len(text) - limit) + gone
    if not missing:
        return text, 0
    return f"{text[:limit]}\n[cut here: {missing} more characters are not shown]", missing


def bounded(given: ToolAnswer, limit: int = LONGEST) -> ToolAnswer:
    """An answer that somebody else made, within the limit."""
    sound = writable(given.content)
    shown, missing = cut(sound, limit)
    if not missing and sound is given.content:
        return given
    return given.model_copy(update={"content": shown, "value": None, "truncated": given.truncated + missing})


def unfit(schema: Mapping[str, Json], arguments: Mapping[str, Json]) -> str | None:
    """Why arguments do not fit a JSON Schema, in a sentence that says what would; None if they do."""
    from jsonschema.exceptions import best_match

    validator = _validator(schema)
    try:
        error: Any = best_match(validator.iter_errors(dict(arguments)))
    except RecursionError:
        return "the arguments are nested too deep"
    except Exception as exc:  # noqa: BLE001  a schema from outside may itself be wrong in many ways
        return f"the tool's own schema cannot be used: {type(exc).__name__}"
    if error is None:
        return None
    place = ".".join(map(str, error.absolute_path))
    told = f"{place}: {error.message}" if place else str(error.message)
    known = schema.get("properties")
    names = ", ".join(sorted(known)) if isinstance(known, Mapping) else ""
    hint = f" The arguments are: {names or 'none'}." if error.validator in _NAMES else ""
    return f"{told[:600]}.{hint}"


def fits(schema: Mapping[str, Json], value: Json) -> bool:
    """Whether a value fits an operator's JSON Schema; to one that cannot be used nothing fits."""
    import jsonschema
    from referencing.jsonschema import EMPTY_REGISTRY

    try:
        return bool(jsonschema.Draft202012Validator(dict(schema), registry=EMPTY_REGISTRY).is_valid(value))
    except Exception:  # noqa: BLE001  as above
        return False


def _validator(schema: Mapping[str, Json]) -> Any:
    """One for schemas from outside, which can neither make it fetch a URL nor keep it busy for ever.

    Left to itself it opens any URL that a schema refers to. A regular expression can take years and nothing can
    interrupt it, so patterns are left to whoever serves the tool.
    """
    from referencing.jsonschema import EMPTY_REGISTRY

    return _without_patterns("patternProperties" in str(schema))(dict(schema), registry=EMPTY_REGISTRY)


@cache
def _without_patterns(named: bool) -> Any:
    """A kind of validator; `named` for schemas in which patterns say which properties are additional."""
    import jsonschema

    ignored = ["pattern", "patternProperties"]
    ignored += ["additionalProperties", "unevaluatedProperties"] if named else []
    extend: Any = jsonschema.validators.extend
    return extend(jsonschema.Draft202012Validator, dict.fromkeys(ignored, _anything))


def _anything(*_: Any) -> tuple[()]:
    """A keyword that everything fits."""
    return ()


_NAMES = {"required", "additionalProperties", "unevaluatedProperties"}
