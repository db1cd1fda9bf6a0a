"""Files are edited while others fire: each change takes effect at once, and nobody else notices."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.acceptance.installations import LEADS, Installation, assert_each_once, figures
from tests.waiting import eventually

ECHO = "schedules:\n  shop:\n    task: taskd.tasks.demo.echo\n    interval: 1s\n    args: [{}]\n"
BROKEN = ECHO.format("bread") + "    cronttab: x\n"


def timed(what: str, check: Callable[[], object]) -> None:
    """Wait for an effect of an edit made just now. The deadline is for loaded machines; the figure tells."""
    began = time.monotonic()
    eventually(check)
    figures.info("%s took effect within %.2f s", what, time.monotonic() - began)


def test_every_edit_takes_effect_while_other_schedules_keep_firing(place: Installation) -> None:
    def stale() -> list[str]:
        shop = place.schedule("shop")
        assert shop
        return [found["message"] for found in shop.conditions if found["type"] == "Stale"]

    def args() -> object:
        shop = place.schedule("shop")
        return shop and shop.args

    place.beats("steady", "steadier")
    place.worker()
    daemon = place.daemon(until=LEADS, TASKD_SCHEDULES__POLL="60s")  # what is seen sooner was an event
    place.goes_on("steady")

    place.declare("shop.yaml", ECHO.format("milk"))
    timed("an added file", lambda: args() == ["milk"])
    place.goes_on("shop")

    place.declare("shop.yaml", ECHO.format("bread"))
    timed("an edited file", lambda: args() == ["bread"])
    place.goes_on("shop")
    assert place.runs("shop", "SUCCESS")[-1].result == {"args": ["bread"], "kwargs": {}}

    place.declare("shop.yaml", BROKEN)
    timed("a broken file", stale)
    [told] = stale()
    assert re.search(r"shop\.yaml:6:5: shop: cronttab: unknown key", told)
    assert told in daemon.output.replace('\\"', '"')
    place.goes_on("shop")
    assert place.runs("shop", "SUCCESS")[-1].result == {"args": ["bread"], "kwargs": {}}

    place.declare("shop.yaml", ECHO.format("butter"))
    timed("a mended file", lambda: not stale() and args() == ["butter"])
    place.goes_on("shop")

    (place.schedules / "shop.yaml").unlink()
    timed("a deleted file", lambda: (shop := place.schedule("shop")) and shop.deleted_at)
    deleted_at = datetime.now(UTC)
    place.goes_on("steady")

    assert daemon.stop(within=15) == 0
    place.settle()
    assert all(run.scheduled_for and run.scheduled_for < deleted_at for run in place.runs("shop"))
    assert_each_once(place, "steady", "steadier")
    assert {run.status for name in ("steady", "steadier") for run in place.runs(name)} == {"SUCCESS"}


def test_schedules_of_a_file_that_is_broken_at_the_start_fire_as_they_last_were(place: Installation) -> None:
    place.beats("steady")
    place.declare("shop.yaml", ECHO.format("bread"))
    place.worker()
    first = place.daemon(until=LEADS)
    place.goes_on("shop")
    assert first.stop(within=15) == 0

    place.declare("shop.yaml", BROKEN)
    second = place.daemon(until="shop.yaml:6:5")
    place.goes_on("shop")
    place.goes_on("steady")
    assert second.stop(within=15) == 0


@pytest.mark.parametrize("how", ["swapped link", "renamed over"])
def test_files_may_come_as_git_and_editors_bring_them(place: Installation, how: str) -> None:
    """git-sync swaps a link, many editors write a copy and rename it."""
    place.declare("shop.yaml", ECHO.format("milk"))
    if how == "swapped link":
        place.schedules.rename(place.folder / "one")
        place.schedules.symlink_to("one")
    place.daemon(until=LEADS, TASKD_SCHEDULES__POLL="60s")
    eventually(lambda: place.schedule("shop"))

    new = place.folder / "two"
    new.mkdir()
    (new / "shop.yaml").write_text(ECHO.format("bread"))
    if how == "swapped link":
        (place.folder / "link").symlink_to("two")
        (place.folder / "link").rename(place.schedules)
    else:
        (new / "shop.yaml").rename(place.schedules / "shop.yaml")
    timed(f"a {how}", lambda: (shop := place.schedule("shop")) and shop.args == ["bread"])
