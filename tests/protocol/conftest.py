"""Fixtures of the tests of the wire contract: whole systems, driven by programs that know nothing but the contract."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "system"))

from system_kit import system  # it lies in the folder that is named above

__all__ = ["system"]
