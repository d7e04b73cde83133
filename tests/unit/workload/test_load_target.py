"""From what a user writes on the command line to the names in a module."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autobatch.workload.files import load_namespace, parse_target


def _parts(text: str) -> tuple[str, bool, str]:
    target = parse_target(text)
    assert target.text == text
    return target.location, target.is_file, target.name


def test_a_file_is_a_file(write: Callable[..., str]) -> None:
    path = write("")
    assert _parts(path) == (path, True, "")


def test_a_name_follows_the_colon(write: Callable[..., str]) -> None:
    path = write("")
    assert _parts(f"{path}:net") == (path, True, "net")


def test_a_path_may_hold_colons(write: Callable[..., str]) -> None:
    path = write("", "runs/12:30/model.py")
    assert _parts(path) == (path, True, "")
    assert _parts(f"{path}:net") == (path, True, "net")


def test_a_file_name_may_hold_a_colon(
    write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("", "model:v2.py")
    monkeypatch.chdir(tmp_path)
    assert _parts("model:v2.py") == ("model:v2.py", True, "")


def test_a_module_is_no_file() -> None:
    assert _parts("package.module:name") == ("package.module", False, "name")
    assert _parts("package.module") == ("package.module", False, "")


def test_a_file_that_does_not_exist_is_an_error(
    tmp_path: Path, error_of: Callable[..., Any]
) -> None:
    error = error_of(parse_target, f"{tmp_path}/nothing.py:net")
    assert f"{tmp_path}/nothing.py does not exist" in str(error)


def test_a_folder_is_an_error(tmp_path: Path, error_of: Callable[..., Any]) -> None:
    assert "is a folder" in str(error_of(parse_target, str(tmp_path)))


def test_a_folder_without_a_slash_is_an_error_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error_of: Callable[..., Any]
) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "is a folder" in str(error_of(parse_target, "models"))


def test_a_package_in_the_current_folder_is_a_module(
    write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("net = 7\n", "mypackage/__init__.py")
    monkeypatch.chdir(tmp_path)
    assert _parts("mypackage:net") == ("mypackage", False, "net")
    assert load_namespace(parse_target("mypackage:net"))["net"] == 7


@pytest.mark.parametrize("name", ["notebook.ipynb", "model"])
def test_a_file_that_is_not_python_is_an_error_that_says_so(
    name: str, write: Callable[..., str], error_of: Callable[..., Any]
) -> None:
    path = write("{}", name)
    error = error_of(parse_target, path)
    assert "is not a Python file" in str(error)


@pytest.mark.parametrize("text", ["", "model-v2", "1abc:net", "a..b", "my model", "a.b.:x"])
def test_what_can_be_neither_is_an_error_that_repeats_it(
    text: str, error_of: Callable[..., Any]
) -> None:
    assert repr(text) in str(error_of(parse_target, text))


def test_a_file_can_import_its_neighbours_and_sees_itself_as_the_program(
    write: Callable[..., str],
) -> None:
    write("value = 41", "neighbour_of_target.py")
    path = write("import sys, neighbour_of_target\nn = neighbour_of_target.value\na = sys.argv")
    namespace = load_namespace(parse_target(path))
    assert namespace["n"] == 41
    assert namespace["a"] == [path]


def test_a_file_is_not_main_and_what_it_defines_can_be_pickled(write: Callable[..., str]) -> None:
    import pickle

    path = write(
        """
        class Data:
            pass
        ran = False
        if __name__ == "__main__":
            ran = True
        """,
        "picklable_target.py",
    )
    namespace = load_namespace(parse_target(path))
    assert namespace["ran"] is False
    assert isinstance(pickle.loads(pickle.dumps(namespace["Data"]())), namespace["Data"])


@pytest.mark.parametrize("name", ["random.py", "torch.py", "my-model.py"])
def test_a_file_never_takes_the_place_of_a_module_that_others_import(
    name: str, write: Callable[..., str]
) -> None:
    before = sys.modules.get(name.removesuffix(".py"))
    namespace = load_namespace(parse_target(write("value = 3", name)))
    assert namespace["value"] == 3
    assert sys.modules.get(name.removesuffix(".py")) is before


def test_a_file_that_defines_a_dataclass_can_be_loaded(write: Callable[..., str]) -> None:
    # dataclasses looks its module up in sys.modules.
    path = write(
        """
        from __future__ import annotations
        import dataclasses
        @dataclasses.dataclass
        class Batch:
            x: int
        """
    )
    assert "Batch" in load_namespace(parse_target(path))


def test_a_syntax_error_names_the_line(
    write: Callable[..., str], error_of: Callable[..., Any]
) -> None:
    path = write("x = 1\ndef broken(:\n")
    error = error_of(load_namespace, parse_target(path))
    assert "SyntaxError" in str(error)
    assert f'File "{path}", line 2' in error.user_traceback


def test_an_exception_while_loading_shows_the_users_frames_alone(
    write: Callable[..., str], error_of: Callable[..., Any]
) -> None:
    path = write("def inner():\n    return 1 / 0\n\ninner()\n")
    error = error_of(load_namespace, parse_target(path))
    assert "ZeroDivisionError: division by zero" in str(error)
    trace = error.user_traceback
    assert trace.startswith("Traceback (most recent call last):")
    assert f'File "{path}", line 4' in trace
    assert f'File "{path}", line 2, in inner' in trace
    assert trace.count("File ") == 2
    assert trace.endswith("ZeroDivisionError: division by zero")
    assert f"python {path}" in error.hint


def test_the_cause_of_an_exception_is_cut_to_the_users_frames_too(
    write: Callable[..., str], error_of: Callable[..., Any]
) -> None:
    path = write(
        """
        import importlib
        try:
            importlib.import_module("no_such_module_anywhere")
        except ImportError as error:
            raise RuntimeError("the data are missing") from error
        """
    )
    error = error_of(load_namespace, parse_target(path))
    assert "importlib" not in error.user_traceback.replace('importlib.import_module("no', "")
    assert error.user_traceback.count(f'File "{path}"') == 2
    assert "direct cause" in error.user_traceback


def test_a_missing_import_is_what_to_install(
    write: Callable[..., str], error_of: Callable[..., Any]
) -> None:
    error = error_of(load_namespace, parse_target(write("import no_such_library.parts\n")))
    assert "ModuleNotFoundError" in str(error)
    assert error.hint == "install no_such_library here"


def test_a_module_that_is_not_there_is_an_error(error_of: Callable[..., Any]) -> None:
    error = error_of(load_namespace, parse_target("no_such_package.models:net"))
    assert "there is no module no_such_package" in str(error)
    assert error.user_traceback == ""


def test_a_missing_import_is_not_mistaken_for_the_target_by_its_first_letters(
    write: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error_of: Callable[..., Any],
) -> None:
    write("import missing_lib\n", "missing_lib_models.py")
    monkeypatch.chdir(tmp_path)
    error = error_of(load_namespace, parse_target("missing_lib_models:net"))
    assert error.hint == "install missing_lib here"


def test_a_module_of_the_current_folder_can_be_loaded(
    write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("value = 5", "package_of_user/deep/models.py")
    monkeypatch.chdir(tmp_path)
    assert load_namespace(parse_target("package_of_user.deep.models:value"))["value"] == 5


@pytest.mark.parametrize("code", ["0", "'stop here'", ""])
def test_leaving_the_program_is_an_error_that_names_the_guard(
    code: str, write: Callable[..., str], error_of: Callable[..., Any]
) -> None:
    error = error_of(load_namespace, parse_target(write(f"import sys\nsys.exit({code})\n")))
    assert "sys.exit" in str(error)
    assert "__main__" in error.hint
