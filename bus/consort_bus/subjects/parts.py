"""What a part of a subject may be. Anything else is refused with ValueError before it becomes one."""

from __future__ import annotations

import re
from functools import lru_cache

from consort_shared.ids import NAME_PATTERN, SKILL_PATTERN, is_run_id, is_token

DIGEST = re.compile(r"[0-9a-f]{64}")
KEY = re.compile(NAME_PATTERN.strip("^$"))
SKILL = re.compile(SKILL_PATTERN.strip("^$"))
STREAM = re.compile(r"[A-Z][A-Z_]{0,31}")
NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
LONG_NUMBER = re.compile(r"[1-9][0-9]{0,18}")


@lru_cache(maxsize=8192)
def run_part(text: str) -> str:
    if not is_run_id(text) or len(text) != 32:
        raise ValueError(f"{text!r} is no run id")
    return text


@lru_cache(maxsize=8192)
def token_part(text: str) -> str:
    if not is_token(text) or text.endswith("\n"):
        raise ValueError(f"{text!r} cannot be part of a subject: lower-case letters, digits, _ and - only")
    return text


def shaped(text: str, shape: re.Pattern[str], what: str) -> str:
    if shape.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no {what}")
    return text


def number_of(text: str) -> int:
    return int(shaped(text, NUMBER, "number"))


def split(subject: str, head: str, count: int) -> list[str] | None:
    """The tokens after `head`, if the subject starts with it and `count` tokens follow."""
    if not subject.startswith(head + "."):
        return None
    tokens = subject[len(head) + 1 :].split(".")
    return tokens if len(tokens) == count else None
