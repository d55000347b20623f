"""What a sandbox can protect, by name."""

from __future__ import annotations

from typing import Literal, TypeAlias

Protection: TypeAlias = Literal["files", "network", "processes", "identity", "limits"]

MEANING: dict[Protection, str] = {
    "files": "the command reads the system's programs and libraries and what it was given, and writes only into "
    "its working folder",
    "network": "the command reaches no network, not even this machine",
    "processes": "whatever the command started ends with it, also what ran away",
    "identity": "the command is not root, and cannot become it",
    "limits": "time on the processor, memory, size and number of files, number of processes",
}
