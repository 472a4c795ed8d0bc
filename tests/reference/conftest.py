"""What the tests of this folder share is in support/, put on the path here."""

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

sys.path.insert(0, str(Path(__file__).parent / "support"))

# Slow shared machines: no time limit decides. GC_THOROUGH=N does N times as many examples, and shows what fails as it was
# found: shrinking it can take longer than all the examples.
THOROUGH = int(os.environ.get("GC_THOROUGH", "1"))

settings.register_profile(
    "reference",
    deadline=None,
    max_examples=60 * THOROUGH,
    stateful_step_count=50,
    report_multiple_bugs=False,
    phases=[phase for phase in Phase if THOROUGH == 1 or phase not in (Phase.shrink, Phase.explain)],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("reference")
