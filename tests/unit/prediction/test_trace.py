"""What a card decides of a trace."""

from __future__ import annotations

import pytest

from autobatch.prediction.trace import Category, PlainFacts, Reduction, Storage, Workspace

HOPPER = PlainFacts(compute_capability=(9, 0), num_sms=132)
ADA = PlainFacts(compute_capability=(8, 9), num_sms=142)
V100 = PlainFacts(compute_capability=(7, 0), num_sms=80)


def sum_of_rows(num_outputs: int, num_inputs: int) -> Reduction:
    return Reduction(
        num_outputs=num_outputs, num_inputs=num_inputs, width=num_outputs, is_inner=False
    )


@pytest.mark.parametrize(
    ("num_outputs", "num_inputs", "num_bytes"),
    [(2560, 2048, 41_943_040), (1024, 4096, 33_554_432), (512, 1500, 6_291_456), (512, 1020, 0)],
)
def test_a_sum_of_rows_is_staged_as_recorded_on_gpus(
    num_outputs: int, num_inputs: int, num_bytes: int
) -> None:
    reduction = sum_of_rows(num_outputs, num_inputs)
    assert reduction.staging_bytes(HOPPER)[0] == num_bytes


def test_the_number_of_multiprocessors_bounds_the_staging() -> None:
    reduction = sum_of_rows(16_384, 2048)
    on_hopper, on_v100 = (reduction.staging_bytes(card)[0] for card in (HOPPER, V100))
    assert on_hopper > on_v100 > 0


def test_a_card_with_fewer_threads_per_multiprocessor_splits_less() -> None:
    reduction = sum_of_rows(16_384, 2048)
    same_sms = PlainFacts(compute_capability=(8, 0), num_sms=142)
    assert reduction.staging_bytes(same_sms)[0] > reduction.staging_bytes(ADA)[0] > 0


def test_a_sum_over_neighbours_takes_a_buffer_without_width() -> None:
    whole = Reduction(num_outputs=1, num_inputs=2**24, width=2**24, is_inner=True)
    buffer_bytes, semaphore_bytes = whole.staging_bytes(HOPPER)
    assert 0 < buffer_bytes <= 4 * 2048 * 132
    assert semaphore_bytes == 4


def test_the_workspace_of_cublas_is_larger_on_hopper() -> None:
    storage = Storage(
        num_bytes=0,
        category=Category.WORKSPACE,
        module="",
        operator="mm",
        workspace=Workspace.CUBLAS,
    )
    assert storage.bytes_on(HOPPER) == 33_554_432
    assert storage.bytes_on(ADA) == storage.bytes_on(V100) == 8_519_680
