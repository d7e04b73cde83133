from __future__ import annotations

import os
from pathlib import Path

import pytest

from autobatch.command.configs import read_size, rewrite
from autobatch.command.template import ConfigKey
from autobatch.errors import SettingsError

JSON = '{"train": {"size": 16}, "eval": {"size": 16},\n "note": "size: 3"}'
YAML = """\
# size: 1
data:
  batch_size: 16  # of training
  workers: 2
evaluation:
  batch_size: 16
optimizer:
  lr: 0.1
"""
TOML = "[data]\nbatch_size = 16\n\n[eval]\nbatch_size = 8\n"


@pytest.mark.parametrize(
    ("name", "text", "key", "changed"),
    [
        ("c.json", JSON, "train.size", JSON.replace("16", "64", 1)),
        ("c.yaml", YAML, "data.batch_size", YAML.replace("16", "64", 1)),
        ("c.toml", TOML, "data.batch_size", TOML.replace("16", "64", 1)),
        (
            "c.yaml",
            "data: {batch_size: 16, w: 2}",
            "data.batch_size",
            "data: {batch_size: 64, w: 2}",
        ),
        ("c.yml", '"data":\n  "size": 16\n', "data.size", '"data":\n  "size": 64\n'),
        ("c.toml", "data = { w = 2, size = 16 }", "data.size", "data = { w = 2, size = 64 }"),
        ("c.toml", "data.size = 16", "data.size", "data.size = 64"),
        ("c.py", "data = dict(\n    size=16,\n)\n", "data.size", "data = dict(\n    size=64,\n)\n"),
        ("c.py", "data = dict(size=16, w=2)\n", "data.size", "data = dict(size=64, w=2)\n"),
        ("c.py", "batch_size = 16 # of one GPU\n", "batch_size", "batch_size = 64 # of one GPU\n"),
    ],
)
def test_only_the_size_itself_changes(
    tmp_path: Path, name: str, text: str, key: str, changed: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    place = ConfigKey(str(path), key)
    assert read_size(place) == 16
    assert rewrite((place,), 64) == {os.path.abspath(path): changed}
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("name", "text", "key", "message"),
    [
        ("c.yaml", YAML, "batch_size", "is there more than once"),
        ("c.yaml", YAML, "data.size", "is not there"),
        ("c.yaml", YAML, "optimizer.lr", "is not there with a whole number"),
        ("c.json", JSON, "size", "is not there"),
    ],
)
def test_a_key_that_is_not_one_number_is_refused(
    tmp_path: Path, name: str, text: str, key: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_size(ConfigKey(str(path), key))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match=r"nothing\.json cannot be read"):
        read_size(ConfigKey("nothing.json", "size"))
