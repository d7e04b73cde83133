from __future__ import annotations

from typing import Any

import pytest

from scripts.peers.table import (
    BEGIN_MARKER,
    END_MARKER,
    describe_survival,
    find_fastest_peers,
    ratio_to_fastest,
    render_markdown,
    replace_between_markers,
    score_all,
    search_ratio,
    tabulate_answers,
    tabulate_conduct,
    tabulate_quality,
    tabulate_times,
)
from scripts.peers.targets import check_targets


def make_run(finder: str, answer: int | None = 8, **changes: Any) -> dict[str, Any]:
    run: dict[str, Any] = {
        "finder": finder,
        "workload": "mlp",
        "repeat": 0,
        "outcome": "raised",
        "ran": False,
        "peak_bytes": 50,
        "limit_bytes": 100,
        "steps": {"trials": [2, 4, 8, 16], "failed": [16]},
    }
    if answer is not None:
        run |= {
            "outcome": "answered",
            "batch_size": answer,
            "ran": True,
            "search_s": 2.0,
            "weights_unchanged": True,
            "generators_unchanged": False,
            "details": {},
        }
    return run | changes


TIMING = {
    "rounds": [{"4": 80.0, "8": 100.0, "16": 0.0}] * 4,
    "largest": 8,
    "dataset_size": 100,
}


def make_document(*runs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"runs": list(runs), "timings": {"mlp": TIMING}, "survival": [], **changes}


def first_row(document: dict[str, Any]) -> dict[str, str]:
    """The first finder's figures by column."""
    row: dict[str, str] = {}
    for header, rows in (tabulate_quality(document), tabulate_conduct(document)):
        row |= dict(zip(header, rows[0], strict=True))
    return row


def test_the_fastest_size_has_a_ratio_of_one() -> None:
    assert ratio_to_fastest([{4: 80.0, 8: 100.0}] * 4, 8) == 1.0
    assert ratio_to_fastest([{4: 80.0, 8: 100.0}] * 4, 4) == pytest.approx(0.8)


def test_a_size_that_did_not_fit_in_one_round_has_no_throughput() -> None:
    assert ratio_to_fastest([{4: 80.0, 8: 100.0}, {4: 80.0, 8: 0.0}], 8) == 0.0
    assert ratio_to_fastest([{4: 80.0}, {4: 80.0}], 8) == 0.0


def test_a_lucky_round_does_not_make_a_size_the_fastest() -> None:
    rounds = [{4: 100.0, 8: 100.0}] * 4 + [{4: 100.0, 8: 900.0}]
    assert ratio_to_fastest(rounds, 4) == 1.0


def test_one_round_is_held_against_its_best() -> None:
    assert ratio_to_fastest([{4: 50.0, 8: 100.0}], 4) == 0.5


def test_a_finder_that_looked_at_one_size_is_no_fastest_peer() -> None:
    quick = make_run("accelerate", search_s=0.1, steps={"trials": [128], "failed": []})
    slow = make_run("lightning-power", search_s=4.0)
    ours = make_run("autobatch", search_s=1.0)
    scores = score_all(make_document(quick, slow, ours))
    peers = find_fastest_peers(scores)
    assert peers["mlp"].finder == "lightning-power"
    assert [search_ratio(score, peers) for score in scores] == [0.025, 1.0, 0.25]


def test_a_peer_that_failed_once_is_no_fastest_peer() -> None:
    scores = score_all(make_document(make_run("toma"), make_run("toma", None, repeat=1)))
    assert find_fastest_peers(scores) == {}
    assert search_ratio(scores[0], {}) is None


def test_a_finder_that_died_is_a_row_that_says_so() -> None:
    died = make_run("ludwig", None, outcome="killed", message="ended by SIGKILL")
    document = make_document(died, make_run("autobatch"))
    row = first_row(document)
    assert row["answered"] == "0 of 1"
    assert row["throughput / best"] == "-"
    assert row["weights, RNG unchanged"] == "-"
    assert tabulate_answers(document)[1][2] == ["ludwig", "killed"]
    assert tabulate_times(document)[1] == [["ludwig", "-"], ["autobatch", "2.0"]]


def test_the_row_of_a_finder_has_its_figures() -> None:
    runs = [make_run("autobatch", 8), make_run("autobatch", 4, repeat=1, peak_bytes=70)]
    survived = {"finder": "autobatch", "outcome": "answered", "kills": 0, "batch_size": 512}
    row = first_row(make_document(*runs, survival=[survived]))
    assert row["ran its answer"] == "2 of 2"
    assert row["throughput / best"] == "0.90 (lowest 0.80)"
    assert row["OOM events"] == "1.0"
    assert row["trials"] == "4.0"
    assert row["peak / limit"] == "0.70"
    assert row["weights, RNG unchanged"] == "yes, no"
    assert row["1.5 GiB group"] == "survived, 512"
    assert row["spread of answers"] == "2"


def test_answers_stand_below_those_of_the_oracle() -> None:
    runs = [make_run("autobatch", size, repeat=n) for n, size in enumerate((8, 8, 4))]
    header, rows = tabulate_answers(make_document(*runs))
    assert list(header) == ["chosen size", "mlp"]
    assert rows == [
        ["oracle: fastest", "8 (100/s)"],
        ["oracle: largest", "8"],
        ["autobatch", "8 (x2), 4 (x1)"],
    ]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (None, "not tested"),
        ({"outcome": "killed", "kills": 1}, "killed"),
        ({"outcome": "answered", "kills": 1, "batch_size": 4}, "a process was killed"),
    ],
)
def test_survival_is_told_in_words(row: dict[str, Any] | None, text: str) -> None:
    assert describe_survival(row) == text


def test_only_what_is_between_the_markers_is_replaced() -> None:
    text = f"before\n{BEGIN_MARKER}\nold\n{END_MARKER}\nafter\n"
    new = replace_between_markers(text, render_markdown((("a", "b"), [["1", "2"]])))
    table = "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert new == f"before\n{BEGIN_MARKER}\n{table}\n{END_MARKER}\nafter\n"
    assert replace_between_markers(new, table) == new


@pytest.mark.parametrize(
    "text",
    ["", BEGIN_MARKER, f"{END_MARKER}{BEGIN_MARKER}", f"{BEGIN_MARKER}{END_MARKER}" * 2],
)
def test_a_text_without_both_markers_once_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="bench:"):
        replace_between_markers(text, "body")


@pytest.mark.parametrize(("answers", "figure"), [((8, 8), "2 of 2"), ((8, 4, None), "1 of 3")])
def test_every_search_for_the_largest_size_counts(
    answers: tuple[int | None, ...], figure: str
) -> None:
    runs = [make_run("autobatch-memory", size, repeat=n) for n, size in enumerate(answers)]
    targets = {name: (text, is_met) for name, text, is_met in check_targets(make_document(*runs))}
    assert targets["largest size is the oracle's"] == (figure, figure == "2 of 2")


def test_a_peer_that_never_met_the_limit_is_no_target() -> None:
    ours = make_run("autobatch", search_s=1.0)
    hasty = make_run("ludwig", search_s=0.5, steps={"trials": [1, 2, 4], "failed": []})
    figures = {name: figure for name, figure, _ in check_targets(make_document(ours, hasty))}
    (figure,) = (figures[name] for name in figures if name.startswith("--goal throughput: search"))
    assert figure == "not measured"
    climber = make_run("lightning-power", search_s=4.0)
    figures = {n: figure for n, figure, _ in check_targets(make_document(ours, hasty, climber))}
    (figure,) = (figures[name] for name in figures if name.startswith("--goal throughput: search"))
    assert figure == "0.25 on 1 workloads"


def test_targets_are_met_or_not_or_not_measured() -> None:
    fast = make_run("autobatch", 8, search_s=1.0, steps={"trials": [4, 8], "failed": []})
    slow = make_run("autobatch", 4, search_s=9.0)
    peer = make_run("lightning-power", search_s=4.0)
    met = {name: is_met for name, _, is_met in check_targets(make_document(fast, peer))}
    not_met = {name: is_met for name, _, is_met in check_targets(make_document(slow, peer))}
    assert [name for name, is_met in met.items() if is_met is False] == []
    assert sum(is_met is True for is_met in met.values()) == 4
    assert sum(is_met is False for is_met in not_met.values()) == 4
    nothing = check_targets({"runs": [], "timings": {}})
    assert {is_met for _, _, is_met in nothing} == {None}
