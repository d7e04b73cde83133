"""What every test run says of itself, and how GPU tests are skipped, or not."""

from __future__ import annotations

import os
import platform
import signal

import hypothesis
import psutil
import pytest

# Two processes of tests share the cores, and PyTorch's threads wait for each other actively: what
# one waits away the other lacks. It has to be set before anything imports PyTorch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-gpu", action="store_true", help="fail, instead of skip, where there is no GPU"
    )
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes, too")


def pytest_configure() -> None:
    # A busy machine is no fault of the code that is tested.
    hypothesis.settings.register_profile("autobatch", deadline=None)
    hypothesis.settings.load_profile("autobatch")
    # A shell that starts a run in the background has it ignore Ctrl-C, and every process that
    # the tests start would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # These measure real memory and real time on a machine that others use as well. Once may be
    # chance, and is shown as a rerun; three times in a row is not.
    for item in items:
        if {"integration", "probe"} & set(item.path.parts):
            item.add_marker(pytest.mark.flaky(reruns=2))
        if item.get_closest_marker("slow") and not item.config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="takes minutes; --slow runs it"))
    # What may take longest, by its own limit, begins first: begun last, it would run alone.
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_report_header() -> str:
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    free_gib = psutil.virtual_memory().available / 2**30
    return (
        f"torch {torch.__version__}, {gpu}, {psutil.cpu_count()} cores, {free_gib:.1f} GiB free, "
        f"{platform.platform()}"
    )


@pytest.fixture(autouse=True)
def _skip_without_gpu(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.cuda.is_available():
        reason = f"PyTorch {torch.__version__} sees no GPU"
        if request.config.getoption("--require-gpu"):
            pytest.fail(reason)
        pytest.skip(reason)
