"""The chaos suite for as long as one likes: `python -m bench.chaos --faults 100 --occurrences 10000`.

Needs a PostgreSQL or MariaDB on its usual local port (or TASKD_TEST_POSTGRESQL_URL, …) and redis-server. Exits 1 where the promise
didn't hold, and says where; the processes' logs stay in --folder.
"""

import argparse
import logging
import math
import random
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

from tests import services
from tests.chaos.checker import occurrences, violations
from tests.chaos.storm import storm


def main() -> int:
    """Faults until there were enough of them, and enough occurrences."""
    given = argparse.ArgumentParser(description=__doc__.partition(".")[0])
    given.add_argument("--faults", type=int, default=100)
    given.add_argument("--occurrences", type=int, default=10_000)
    given.add_argument("--schedules", type=int, default=20)
    given.add_argument("--replicas", type=int, default=3)
    given.add_argument("--database", choices=["postgresql", "mariadb"], default="postgresql")
    given.add_argument("--seed", default=str(random.SystemRandom().randrange(10**6)))
    given.add_argument("--folder", type=Path)
    wanted = given.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stdout)
    logging.getLogger("tests.figures").setLevel(logging.INFO)
    folder = wanted.folder or Path(mkdtemp(prefix="chaos-"))
    print(f"seed {wanted.seed}, logs in {folder}", flush=True)
    home = folder / "redis"
    home.mkdir(parents=True)
    began = time.monotonic()
    with (
        services.own_database(wanted.database) as database,
        services.redis(home) as redis,
        storm(
            folder,
            database,
            redis,
            "chaos:",
            replicas=wanted.replicas,
            schedules=wanted.schedules,
            seed=wanted.seed,
        ) as chaos,
    ):
        rest = 2 * wanted.occurrences / wanted.schedules / wanted.faults / 2  # most faults take as long again
        chaos.rage(wanted.faults, rest)
        while (missing := wanted.occurrences - chaos.decided()) > 0:
            chaos.rage(1, math.ceil(missing / wanted.schedules / 10))
        facts = chaos.calm()
    broken = violations(facts)
    print("\n".join(broken))
    seconds = time.monotonic() - began
    print(
        f"{chaos.done.total()} faults, {occurrences(facts)} occurrences, {len(broken)} violations, {seconds:.0f} s"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
