"""The exception tree in the docstring is the tree in the code."""

import inspect
import re

from taskd import errors


def test_the_docstring_draws_every_class() -> None:
    drawn = set(re.findall(r"[─ ] ?([A-Z]\w+)", "\n" + (errors.__doc__ or ""))) | {"TaskdError"}
    defined = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
    assert defined <= drawn
