"""Which files a process may touch, by Landlock: a restriction a process puts on itself for good.

What is not allowed is denied, whatever the rights of the user are. Older kernels know fewer
kinds of access; what they do not know they do not deny, so a version is told with the protection.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from consort_agents.tools.confinement import kernel

_EXECUTE, _WRITE, _READ, _LIST = 1, 2, 4, 8
_ALL_OF_FIRST = (1 << 13) - 1
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_TCP = 0b11
"""Binding and connecting."""
_SIGNALS_AND_SOCKETS = 0b11
_OF_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL


def restrict(read: Iterable[str], write: Iterable[str], *, network: bool) -> str:
    """Leave reading and running beneath `read`, and everything beneath `write`; says by what.

    Without `network`, TCP is denied too, as a second line. Raises OSError where there is no Landlock.
    """
    version = kernel.landlock_version()
    known = _ALL_OF_FIRST
    known |= _REFER if version >= 2 else 0
    known |= _TRUNCATE if version >= 3 else 0
    known |= _IOCTL if version >= 5 else 0
    tcp = 0 if network or version < 4 else _TCP
    ruleset = kernel.landlock_ruleset(known, tcp, _SIGNALS_AND_SOCKETS if version >= 6 else 0)
    try:
        for path in read:
            _allow(ruleset, path, (_EXECUTE | _READ | _LIST) & known)
        for path in write:
            _allow(ruleset, path, known & ~_IOCTL)
        kernel.landlock_enter(ruleset)
    finally:
        os.close(ruleset)
    return f"Landlock {version}"


def _allow(ruleset: int, path: str, access: int) -> None:
    with suppress(FileNotFoundError, PermissionError):
        kernel.landlock_allow(ruleset, path, access if os.path.isdir(path) else access & _OF_FILES)
