"""From two traces to any batch size."""

from __future__ import annotations

from dataclasses import replace

from autobatch.cards.peaks import Units
from autobatch.prediction.lines import TraceLine, explain_difference
from autobatch.prediction.trace import Category, Reduction, Storage, Trace, Workspace
from autobatch.prediction.work import Operation, WorkKind


def make_trace(batch_size: int, *sizes: int, operator: str = "mm") -> Trace:
    storages = [
        Storage(num_bytes=size, category=Category.ACTIVATION, module="fc", operator=operator)
        for size in sizes
    ]
    return Trace(
        batch_size=batch_size,
        compute_capability=(8, 0),
        storages=tuple(storages),
        events=tuple(range(len(storages))),
    )


def test_constant_and_proportional_storages_need_no_third_trace() -> None:
    line = TraceLine(small=make_trace(2, 100, 20), large=make_trace(3, 100, 30))
    assert not line.needs_third
    assert [each.num_bytes for each in line.at(16).storages] == [100, 160]
    assert line.at(16).batch_size == 16


def test_what_a_step_computes_is_on_the_line_too() -> None:
    def with_work(batch_size: int, *works: tuple[WorkKind, int, int]) -> Trace:
        operations = tuple(
            Operation(kind=kind, units=Units.HALF, num_flops=flops, num_bytes=num_bytes)
            for kind, flops, num_bytes in works
        )
        return replace(make_trace(batch_size, 100), operations=operations)

    line = TraceLine(
        small=with_work(2, (WorkKind.PRODUCT, 200, 30), (WorkKind.COPY, 0, 8)),
        large=with_work(3, (WorkKind.PRODUCT, 300, 40), (WorkKind.COPY, 0, 8)),
    )
    assert [(each.num_flops, each.num_bytes) for each in line.operations_at(16)] == [
        (1600, 170),
        (0, 8),
    ]
    other = with_work(3, (WorkKind.PRODUCT, 300, 40), (WorkKind.POINTWISE, 0, 8))
    assert replace(line, large=other).operations_at(16) == ()
    fewer = with_work(3, (WorkKind.PRODUCT, 300, 40))
    assert replace(line, large=fewer).operations_at(16) == ()


def test_a_square_is_found_by_a_third_trace() -> None:
    line = TraceLine(small=make_trace(2, 4), large=make_trace(3, 9))
    assert line.needs_third
    assert "does not grow in a line" in line.explain_difference(make_trace(5, 25))


def test_a_line_beside_the_origin_is_confirmed_by_a_third_trace() -> None:
    line = TraceLine(small=make_trace(2, 12), large=make_trace(3, 13))
    assert line.needs_third
    assert line.explain_difference(make_trace(5, 15)) == ""


def test_traces_of_different_operators_have_no_line() -> None:
    one, other = make_trace(2, 4), make_trace(3, 6, operator="bmm")
    assert explain_difference(one, other) == (
        "allocation 0 is by mm at batch size 2 and by bmm at 3"
    )
    assert explain_difference(one, make_trace(3, 6, 6)) == (
        "1 allocations at batch size 2 and 2 at 3"
    )


def test_what_a_sum_stages_follows_the_batch_size() -> None:
    def at(batch_size: int) -> Trace:
        reduction = Reduction(
            num_outputs=768, num_inputs=512 * batch_size, width=768, is_inner=False
        )
        storage = Storage(
            num_bytes=0,
            category=Category.WORKSPACE,
            module="",
            operator="sum",
            workspace=Workspace.REDUCTION,
            reduction=reduction,
        )
        return Trace(
            batch_size=batch_size, compute_capability=(8, 0), storages=(storage,), events=(0, ~0)
        )

    assert TraceLine(small=at(2), large=at(3)).at(24).storages == at(24).storages
