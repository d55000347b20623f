"""Fixtures: a whole system of real processes, as `tests/system` has it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "system"))

from system_kit import system

__all__ = ["system"]
