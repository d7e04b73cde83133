"""The built-in reference that goes with a target."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autobatch.check.measurement import StepMakeup
from autobatch.check.records import CheckSettings
from autobatch.check.reference import BUILTINS, choose_batch_size, choose_builtin
from autobatch.check.start import choose_reference
from autobatch.errors import BaselineError, SettingsError

KIB, MIB = 2**10, 2**20
# As inspect_step finds them for the examples, rounded.
DIGITS_CNN = StepMakeup(
    num_calls=111, convolution_flops=682 * 10**6, matrix_flops=10**5, tensor_bytes=512 * KIB
)
CHAR_GPT = StepMakeup(
    num_calls=926, convolution_flops=0, matrix_flops=15 * 10**9, tensor_bytes=2 * MIB
)
SEQUENCE_LSTM = StepMakeup(
    num_calls=120, convolution_flops=0, matrix_flops=12288, tensor_bytes=6328320
)
REGRESSION_MLP = StepMakeup(
    num_calls=40, convolution_flops=0, matrix_flops=147200, tensor_bytes=12800
)


@pytest.mark.parametrize(
    ("makeup", "name"),
    [
        (DIGITS_CNN, "builtin:convolutions"),
        (CHAR_GPT, "builtin:linear"),
        (SEQUENCE_LSTM, "builtin:linear"),
        (REGRESSION_MLP, "builtin:calls"),
        # Large tensors that little is computed from are no matter of calls.
        (replace(REGRESSION_MLP, tensor_bytes=MIB), "builtin:linear"),
        (None, "builtin:convolutions"),
    ],
    ids=["digits_cnn", "char_gpt", "sequence_lstm", "regression_mlp", "memory", "unknown"],
)
def test_the_reference_is_made_of_the_same_as_the_target(makeup, name) -> None:
    assert choose_builtin(makeup, is_on_cpu=True) == name


def test_calls_weigh_more_on_an_accelerator() -> None:
    small = replace(CHAR_GPT, tensor_bytes=16 * KIB)
    assert choose_builtin(small, is_on_cpu=True) == "builtin:linear"
    assert choose_builtin(small, is_on_cpu=False) == "builtin:calls"


@pytest.mark.parametrize("is_on_cpu", [True, False])
@pytest.mark.parametrize("name", BUILTINS)
def test_its_tensors_are_of_the_same_size_as_far_as_its_range_goes(name, is_on_cpu) -> None:
    builtin = BUILTINS[name]
    largest = builtin.largest if is_on_cpu else builtin.largest_on_accelerator
    for exponent in range(40):
        makeup = replace(DIGITS_CNN, tensor_bytes=2**exponent)
        batch_size = choose_batch_size(name, makeup, is_on_cpu=is_on_cpu)
        ratio = batch_size * builtin.sample_bytes / 2**exponent
        assert builtin.smallest <= batch_size <= largest
        assert 0.7 < ratio < 1.5 or batch_size == (builtin.smallest if ratio > 1 else largest)


def test_a_size_is_found_where_nothing_is_known() -> None:
    for name in BUILTINS:
        for makeup in (None, replace(DIGITS_CNN, tensor_bytes=0)):
            assert choose_batch_size(name, makeup, is_on_cpu=True) >= 1


def test_a_reference_is_timed_where_a_baseline_is_made_and_the_baseline_s_from_then_on(
    make_measurement,
) -> None:
    keeping = CheckSettings(keeps_baseline=True)
    assert choose_reference(keeping, None) == "builtin"
    assert choose_reference(replace(keeping, reference="builtin:calls"), None) == "builtin:calls"
    assert choose_reference(CheckSettings(), None) == "none"
    baseline = make_measurement(references_s=(0.01,) * 8)
    for asked in (None, "builtin", "builtin:linear"):
        assert choose_reference(CheckSettings(reference=asked), baseline) == "builtin:linear"


@pytest.mark.parametrize("asked", ["none", "builtin:calls", "base/model.py"])
def test_another_reference_than_the_baseline_s_is_refused(make_measurement, asked) -> None:
    baseline = make_measurement(references_s=(0.01,) * 8)
    with pytest.raises(BaselineError, match=f"builtin:linear, not {asked}"):
        choose_reference(CheckSettings(reference=asked), baseline)


def test_a_built_in_reference_that_there_is_not_is_refused(make_measurement) -> None:
    with pytest.raises(SettingsError, match="no reference 'builtin:lineal'") as caught:
        choose_reference(CheckSettings(reference="builtin:lineal", keeps_baseline=True), None)
    assert "builtin:linear" in caught.value.hint
    baseline = make_measurement(references_s=(0.01,) * 8, reference="builtin:quantum")
    with pytest.raises(BaselineError, match="'builtin:quantum', which is no reference here"):
        choose_reference(CheckSettings(), baseline)
