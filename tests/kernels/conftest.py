"""The packages tests/kernels and tests/machines are importable by their names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
