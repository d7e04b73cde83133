"""What is tried, in which order, and what is put together: on made-up throughputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from autobatch.tuning.records import Attempt, AttemptOutcome, Changes
from autobatch.tuning.search import Search, Try, find_runner_up


def attempt_of(changes: Changes, ratio: float) -> Attempt:
    if not ratio:
        return Attempt(changes=changes, outcome=AttemptOutcome.FAILED, message="broken")
    return Attempt(
        changes=changes, outcome=AttemptOutcome.MEASURED, batch_size=8, ratios=(ratio,) * 3
    )


class Trying:
    """Tries settings whose ratio a function says, and remembers them."""

    def __init__(self, ratio_of: Callable[[Changes], float]) -> None:
        self.ratio_of = ratio_of
        self.tried: list[Changes] = []

    def __call__(self, changes: Changes, against: Attempt | None) -> Attempt:
        if changes not in self.tried:
            self.tried.append(changes)
        return attempt_of(changes, self.ratio_of(changes))


def make_search(
    offers: Mapping[str, Sequence[str]], trying: Try, noise_fraction: float = 0.001
) -> Search:
    return Search(offers, trying, noise_fraction)


def product_of(**gains: float) -> Callable[[Changes], float]:
    def ratio_of(changes: Changes) -> float:
        ratio = 1.0
        for name, value in changes.items():
            ratio *= gains.get(f"{name}_{value}", gains.get(name, 1.0))
        return ratio

    return ratio_of


def test_what_gains_is_put_together_fastest_first() -> None:
    trying = Trying(product_of(optimizer=1.1, allocator=1.5, channels_last=0.9))
    search = make_search(
        {"optimizer": ["fused"], "channels_last": ["on"], "allocator": ["keep"]}, trying
    )
    search.run()
    assert [each.changes for each in search.ladder] == [
        {},
        {"allocator": "keep"},
        {"allocator": "keep", "optimizer": "fused"},
    ]
    assert {"channels_last": "on", "allocator": "keep"} not in trying.tried


def test_of_several_values_the_fastest_goes_on() -> None:
    trying = Trying(product_of(threads_1=1.2, threads_2=1.4))
    search = make_search({"threads": ["1", "2"]}, trying)
    search.run()
    assert search.best.changes == {"threads": "2"}


def test_what_no_longer_gains_beside_another_is_left_out() -> None:
    def ratio_of(changes: Changes) -> float:
        return 1.0 + 0.5 * ("allocator" in changes or "threads" in changes)

    search = make_search({"allocator": ["keep"], "threads": ["1"]}, Trying(ratio_of))
    search.run()
    assert search.best.changes == {"allocator": "keep"}


@pytest.mark.parametrize(
    ("alone", "together", "expected"),
    [
        (1.4, 1.6, {"channels_last": "on", "allocator": "keep"}),
        (1.4, 1.41, {"compile": "inductor"}),  # the product of both promised more
        (1.7, 1.6, {"compile": "inductor"}),  # promises less
    ],
)
def test_what_does_not_go_with_the_fastest_is_put_together_without_it(
    alone: float, together: float, expected: Changes
) -> None:
    def ratio_of(changes: Changes) -> float:
        if "compile" in changes:
            return alone - 0.05 * (len(changes) - 1)
        ratios = {0: 1.0, 1: 1.3 if "channels_last" in changes else 1.25, 2: together}
        return ratios[len(changes)]

    trying = Trying(ratio_of)
    offers = {"channels_last": ["on"], "allocator": ["keep"], "compile": ["inductor"]}
    search = make_search(offers, trying)
    search.run()
    assert search.best.changes == expected
    assert ({"channels_last": "on", "allocator": "keep"} in trying.tried) == (alone < 1.6)


def test_the_best_so_far_stays_where_time_runs_out_beside_it() -> None:
    def ratio_of(changes: Changes) -> float:
        if len(changes) == 2 and "compile" not in changes:
            raise TimeoutError
        return 1.3 if len(changes) == 1 else 1.0

    offers = {"channels_last": ["on"], "allocator": ["keep"], "compile": ["inductor"]}
    search = make_search(offers, Trying(ratio_of))
    with pytest.raises(TimeoutError):
        search.run()
    assert search.best.ratio == 1.3


def test_what_alone_makes_no_difference_is_tried_on_top_of_what_gains() -> None:
    def ratio_of(changes: Changes) -> float:
        return 1.0 + 0.3 * ("channels_last" in changes) * (1 + ("allocator" in changes))

    trying = Trying(ratio_of)
    search = make_search({"allocator": ["keep"], "channels_last": ["on"]}, trying)
    search.run()
    assert search.best.changes == {"channels_last": "on", "allocator": "keep"}


def test_what_makes_no_difference_together_is_not_tried_one_at_a_time() -> None:
    trying = Trying(product_of(channels_last=1.3))
    offers = {name: ["on"] for name in ("allocator", "threads", "optimizer", "channels_last")}
    search = make_search(offers, trying)
    search.run()
    assert search.best.changes == {"channels_last": "on"}
    assert trying.tried[-1] == dict.fromkeys(offers, "on")
    assert len(trying.tried) == 6


def test_what_fails_together_is_tried_one_at_a_time() -> None:
    def ratio_of(changes: Changes) -> float:
        if len(changes) == 3:
            return 0.0
        return 1.0 + 0.3 * ("channels_last" in changes) * (1 + ("allocator" in changes))

    search = make_search(
        {"allocator": ["on"], "threads": ["1"], "channels_last": ["on"]}, Trying(ratio_of)
    )
    search.run()
    assert search.best.changes == {"channels_last": "on", "allocator": "on"}


@pytest.mark.parametrize(("batch_size", "is_tried"), [(8, False), (64, True)])
def test_what_is_a_little_slower_is_tried_again_at_quite_another_size(
    batch_size: int, is_tried: bool
) -> None:
    trying = Trying(product_of(loader=1.7, allocator=0.95))

    def attempt(changes: Changes, against: Attempt | None) -> Attempt:
        tried = trying(changes, against)
        return replace(tried, batch_size=batch_size) if "loader" in changes else tried

    search = make_search({"loader": ["2"], "allocator": ["on"]}, attempt)
    search.run()
    assert ({"loader": "2", "allocator": "on"} in trying.tried) == is_tried


@pytest.mark.parametrize(("noise_fraction", "is_tried"), [(0.01, False), (0.1, True)])
def test_what_noise_may_have_made_slower_is_tried_again_beside_what_gains(
    noise_fraction: float, is_tried: bool
) -> None:
    trying = Trying(product_of(compile=1.3, allocator=0.93))
    search = make_search({"compile": ["on"], "allocator": ["on"]}, trying, noise_fraction)
    search.run()
    assert ({"compile": "on", "allocator": "on"} in trying.tried) == is_tried


def test_a_lever_that_fails_costs_that_lever() -> None:
    trying = Trying(product_of(compile=0.0, optimizer=1.2))
    search = make_search({"compile": ["inductor"], "optimizer": ["fused"]}, trying)
    search.run()
    assert search.best.changes == {"optimizer": "fused"}
    assert {"optimizer": "fused", "compile": "inductor"} not in trying.tried


def test_a_pair_is_tried_that_gains_only_together() -> None:
    def ratio_of(changes: Changes) -> float:
        both = {"checkpointing", "compile"} <= changes.keys()
        return 1.6 if both else 0.8 if "checkpointing" in changes else 1.0

    trying = Trying(ratio_of)
    search = make_search({"checkpointing": ["every_block"], "compile": ["inductor"]}, trying)
    search.run()
    assert search.best.changes == {"checkpointing": "every_block", "compile": "inductor"}


def test_where_nothing_gains_the_start_stands() -> None:
    search = make_search({"optimizer": ["fused", "foreach"]}, Trying(product_of(optimizer=1.01)))
    search.run()
    assert [each.changes for each in search.ladder] == [{}]


def test_when_time_runs_out_the_best_so_far_stands() -> None:
    def ratio_of(changes: Changes) -> float:
        if "compile" in changes:
            raise TimeoutError
        return 1.0 + 0.3 * len(changes)

    search = make_search({"optimizer": ["fused"], "compile": ["inductor"]}, Trying(ratio_of))
    try:
        search.run()
    except TimeoutError:
        assert search.best.changes == {"optimizer": "fused"}


def test_the_runner_up_is_the_fastest_other_and_never_the_start() -> None:
    start, best, other, slow = (
        attempt_of(changes, ratio)
        for changes, ratio in (({}, 2.0), ({"a": "1"}, 1.9), ({"b": "1"}, 1.5), ({"c": "1"}, 1.2))
    )
    assert find_runner_up([start, slow, best, other], best) == other
    assert find_runner_up([start, best], best) is None
