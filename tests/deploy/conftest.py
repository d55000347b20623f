"""The machines and the reading of a page's blocks are those of the tests of whole systems."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "system"))
