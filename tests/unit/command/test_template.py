from __future__ import annotations

import pytest

from autobatch.command.template import ConfigKey, parse_command, parse_config_key
from autobatch.errors import SettingsError


def test_places_are_filled_wherever_they_stand() -> None:
    template = parse_command(
        ("python", "train.py", "--batch-size={batch_size=64}", "--accum", "{accumulation}"),
        {"BS": "{batch_size}"},
    )
    assert template.base_batch_size == 64
    assert template.place == "--batch-size"
    assert template.fill(32, 2) == ("python", "train.py", "--batch-size=32", "--accum", "2")
    assert template.fill_variables(32, 2) == {"BS": "32"}
    assert str(template) == "python train.py --batch-size={batch_size} --accum {accumulation}"
    assert template.guess == ""


@pytest.mark.parametrize(
    ("argument", "filled"),
    [
        ("--batch-size 64", "--batch-size 7"),
        ("--batch_size=64", "--batch_size=7"),
        ("--batchSize 64", "--batchSize 7"),
        ("-b 64", "-b 7"),
        ("-b64", "-b7"),
        ("--per_device_train_batch_size 64", "--per_device_train_batch_size 7"),
        ("--device-batch-size=64", "--device-batch-size=7"),
        ("--data.batch_size=64", "--data.batch_size=7"),
        ("data.batch_size=64", "data.batch_size=7"),
        ("--trainer.batch_size=64", "--trainer.batch_size=7"),
        ("batch=64", "batch=7"),
        ("--bs 64", "--bs 7"),
        ("--bsz=64", "--bsz=7"),
        ("+train.batch_size=64", "+train.batch_size=7"),
        ("++data.batch_size=64", "++data.batch_size=7"),
        ("--training.local_batch_size 64", "--training.local_batch_size 7"),
        ("SOLVER.IMS_PER_BATCH 64", "SOLVER.IMS_PER_BATCH 7"),
        ("--samples-per-gpu 64", "--samples-per-gpu 7"),
    ],
)
def test_an_argument_whose_name_says_batch_size_is_taken_and_said(
    argument: str, filled: str
) -> None:
    template = parse_command(("python", "train.py", *argument.split(), "--epochs", "3"))
    assert template.fill(7) == ("python", "train.py", *filled.split(), "--epochs", "3")
    assert template.base_batch_size == 64
    assert template.guess == f"{template.place} is the batch size, by its name"


@pytest.mark.parametrize(
    "argument",
    ["--test-batch-size 64", "--eval_batch_size=64", "-b fast", "b=64", "--lr 64", "model.b=64"],
)
def test_other_arguments_are_not(argument: str) -> None:
    template = parse_command(("python", "train.py", *argument.split()))
    assert not template.has_size
    assert template.fill(7) == template.arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "there is no command after `--`"),
        (("jupyter", "execute", "train.ipynb"), "train.ipynb is a notebook"),
        (("t", "{batch_size=64}", "{batch_size=32}"), "several base sizes: 32, 64"),
        (("t", "{batch_size=many}"), "must be a whole number above 0, got 'many'"),
        (("t", "--batch-size", "8", "-b", "8"), "both --batch-size and -b could be"),
    ],
)
def test_what_cannot_be_used_is_repeated(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_command(arguments)
    assert message in str(raised.value)
    assert raised.value.hint


def test_a_key_of_a_file_is_a_path_and_names() -> None:
    assert parse_config_key("ds.json:train.size") == ConfigKey("ds.json", "train.size")
    for text in ("ds.json", ":size", "ds.json:"):
        with pytest.raises(ValueError, match=text):
            parse_config_key(text)


def test_a_place_in_a_file_is_named_by_it() -> None:
    template = parse_command(("python", "t.py"), config_keys=(ConfigKey("c.yaml", "size"),))
    assert template.has_size
    assert template.place == "c.yaml:size"
