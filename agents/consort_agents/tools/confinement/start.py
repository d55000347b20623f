"""Starts `supervising` without importing the packages around it, which need more than the standard library."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

_HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    for _name, _folder in (
        ("consort_agents", _HERE.parents[1]),
        ("consort_agents.tools", _HERE.parent),
        ("consort_agents.tools.confinement", _HERE),
    ):
        _module = ModuleType(_name)
        _module.__path__ = [str(_folder)]
        sys.modules[_name] = _module

    from consort_agents.tools.confinement.supervising import main

    main()
