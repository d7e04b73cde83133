"""A pickle is a program: of a stranger's, only plain values are taken, and nothing is called."""

from __future__ import annotations

import collections
import os
import pickle
import struct
from pathlib import Path

import pytest

from autobatch.errors import ResultFormatError
from autobatch.prediction.snapshot.pickles import load_plain


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/autobatch-was-here",)


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_come_back_as_they_were(tmp_path: Path, protocol: int) -> None:
    value = {"a": [1, 2**70, -1.5, "text", b"bytes", None, True], "b": (1, (2, {3}))}
    if protocol < 4:  # sets need a class to be looked up there
        value["b"] = (1, (2, 3))
    if protocol < 3:  # and so do bytes
        value["a"] = [1, 2**70]
    path = write(tmp_path / "plain.pickle", pickle.dumps(value, protocol))
    assert load_plain(path) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_ever_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    called: list[str] = []
    monkeypatch.setattr(os, "system", called.append)
    path = write(tmp_path / "evil.pickle", pickle.dumps({"segments": [Evil()]}, protocol))
    with pytest.raises(ResultFormatError, match="a snapshot has no classes") as caught:
        load_plain(path)
    assert caught.value.hint.startswith("give a file that torch.cuda.memory")
    assert called == []


def test_a_harmless_class_is_refused_too(tmp_path: Path) -> None:
    path = write(tmp_path / "dict.pickle", pickle.dumps(collections.OrderedDict(a=1)))
    with pytest.raises(ResultFormatError, match=r"it asks for collections\.OrderedDict"):
        load_plain(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not a pickle"),
        (b"\x80\x05not a pickle", "it is not a pickle"),
        (b"\x80\x05]", "it is not a pickle"),
        (b"Pname\n.", "refers to objects outside"),
        (b"cos\nsystem\n(S'true'\ntR.", r"asks for os\.system"),
        (b"(S'true'\nios\nsystem\n.", r"asks for os\.system"),
        # An index that would have another unpickler set 32 GiB aside.
        (b"\x80\x02]r" + struct.pack("<I", 2**32 - 1) + b"h\x00.", "it is not a pickle"),
        # Eight TiB of bytes, in a file of twenty.
        (b"\x80\x05\x96" + struct.pack("<Q", 2**43) + b"abc.", "it is not a pickle"),
        (b"\x80\x05\x8e" + struct.pack("<Q", 2**63 - 1) + b"abc.", "it is not a pickle"),
    ],
)
def test_a_hostile_file_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ResultFormatError, match=reason):
        load_plain(write(tmp_path / "hostile.pickle", content))


@pytest.mark.parametrize("name", ["missing.pickle", "."])
def test_a_file_that_cannot_be_opened_is_said_to_be_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(ResultFormatError, match=r"cannot read .*(no such file|is a directory)"):
        load_plain(str(tmp_path / name))
