"""What ``help(find_batch_size)`` and a type checker know of the options is what there is."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Callable

import pytest

import autobatch
from autobatch.records import Settings
from autobatch.records.options import options_of
from autobatch.training.options import SearchOptions, shows_options

IN_CODE = {name: each for name, each in options_of(Settings).items() if each.in_code}


def test_a_type_checker_knows_every_option() -> None:
    assert list(SearchOptions.__annotations__) == list(IN_CODE)


def test_help_shows_every_option_with_its_default() -> None:
    parameters = inspect.signature(autobatch.find_batch_size).parameters
    assert "options" not in parameters
    words = " ".join((autobatch.find_batch_size.__doc__ or "").split())
    for name, each in IN_CODE.items():
        assert f" {name}: {each.help}" in words
    assert parameters["headroom"].default == "10%"
    assert parameters["min_batch_size"].default == 1
    assert parameters["time_limit"].default == "2min"
    assert parameters["drop_last"].default is False


@pytest.mark.parametrize("as_compiled", [str, inspect.cleandoc], ids=["to 3.12", "from 3.13"])
def test_help_is_complete_however_python_keeps_a_docstring(
    as_compiled: Callable[[str], str],
) -> None:
    def call(**options: object) -> None: ...

    call.__doc__ = as_compiled("""Call.

    Args:
        **options: Any.

    Returns:
        Nothing.
    """)
    assert (shows_options(call).__doc__ or "").startswith("Call.\n\nArgs:\n    device: Where")
    assert (call.__doc__ or "").endswith("\n\nReturns:\n    Nothing.")


def test_without_docstrings_nothing_is_shown_and_nothing_fails() -> None:
    def call(**options: object) -> None: ...

    assert shows_options(call).__doc__ is None


def test_the_example_of_find_batch_size_runs() -> None:
    runner = doctest.DocTestRunner()
    found = doctest.DocTestFinder(recurse=False).find(
        autobatch.find_batch_size, "find_batch_size", module=False, globs={}
    )
    assert [bool(each.examples) for each in found] == [True]
    results = [runner.run(each) for each in found]
    assert sum(each.failed for each in results) == 0
