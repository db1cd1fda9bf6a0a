"""Found by a process with this folder on PYTHONPATH: its wall clock is off by SKEW seconds, as far as taskd sees."""

import os
from datetime import datetime, timedelta

from taskd import clock

_now = clock.now


def _skewed() -> datetime:
    return _now() + timedelta(seconds=float(os.environ["SKEW"]))


clock.now = _skewed
