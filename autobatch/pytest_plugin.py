"""A pytest plugin: hold training against requirements in a test.

    def test_trains(autobatch):
        autobatch.assert_fits(workload, batch_size=64, max_memory="2GiB")

    @pytest.mark.autobatch(device="cuda", min_free="20GiB")
    def test_needs_a_large_gpu(autobatch): ...

Loading it imports neither PyTorch nor anything else that is heavy: that comes with the first
test that uses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from autobatch.check.records import CheckReport

_MARKER = "autobatch"
_MARKER_HELP = (
    "autobatch(device='cuda', min_free='20GiB', ...): skip the test where the hardware is not "
    "there; takes what `autobatch check` can require of it"
)
_LOCK = "autobatch.lock"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER_HELP)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test where the hardware is not what it needs; fail one marked wrongly."""
    for marker in item.iter_markers(_MARKER):
        from autobatch.errors import AutobatchError

        reason, mistake = "", ""
        try:
            reason = _find_lack(marker.args, marker.kwargs)
        except (pytest.UsageError, AutobatchError) as error:
            mistake = f"{error}\n{getattr(error, 'hint', '') or _MARKER_HELP}"
        if mistake:
            pytest.fail(mistake, pytrace=False)
        if reason:
            pytest.skip(reason)


@pytest.fixture
def autobatch(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checker:
    """Checks workloads: ``autobatch.assert_fits(workload, batch_size=64, ...)``."""
    folder = tmp_path_factory.getbasetemp()
    # Under pytest-xdist each worker has a folder of its own below the one that they share.
    is_shared = hasattr(request.config, "workerinput")
    return Checker(request, (folder.parent if is_shared else folder) / _LOCK)


class Checker:
    """What the fixture ``autobatch`` is.

    Args:
        request: Of the test.
        lock: A file; who holds it measures, so that workers side by side do not disturb each
            other's times.
    """

    def __init__(self, request: pytest.FixtureRequest, lock: Path) -> None:
        self._request = request
        self._lock = lock

    def assert_fits(
        self,
        workload: Any,
        *,
        batch_size: int | None = None,
        max_memory: str | int | None = None,
        min_headroom: str | float | None = None,
        min_throughput: float | None = None,
        max_step_time: str | float | None = None,
        device: str = "auto",
        precision: str = "fp32",
        time_limit: str | float = "60s",
        strict: bool = False,
    ) -> CheckReport:
        """Train a workload at a batch size, and fail the test if a requirement is not met.

        What noise leaves open does not fail it, unless ``strict``: it is in the test's report.

        Args:
            workload: An ``autobatch.Workload``, a function that makes one, or the name of a
                target such as ``model.py``.
            batch_size: The size; that of the workload if left out.
            max_memory: Most memory at the peak: ``"2GiB"`` or bytes.
            min_headroom: Least part of the memory that stays free: ``"10%"`` or ``0.1``.
            min_throughput: Fewest samples per second.
            max_step_time: Longest step: ``"50ms"`` or seconds.
            device: As the option ``device`` takes it.
            precision: Arithmetic of a step.
            time_limit: Time to decide in.
            strict: Whether an inconclusive requirement fails the test.

        Returns:
            The report, for assertions of one's own.

        Raises:
            AutobatchError: If it cannot be measured.
        """
        from autobatch.check.records import TRIAL_HEADROOM_FRACTION, CheckSettings, TargetLimits
        from autobatch.records import Settings

        training = {"device": device, "precision": precision, "headroom": TRIAL_HEADROOM_FRACTION}
        limits = {
            "max_memory": max_memory,
            "min_headroom": min_headroom,
            "min_throughput": min_throughput,
            "max_step_time": max_step_time,
        }
        others = {"batch_size": batch_size, "time_limit": time_limit, "strict": strict}
        settings = CheckSettings(
            training=_make(Settings, training),
            limits=_make(TargetLimits, limits),
            **_read(CheckSettings, others),
        )
        report = self._check(workload, settings)
        self._attach(report)
        if not report.is_met:
            # pytest begins the line with "Failed: " by itself.
            _, _, reason = _describe(report).partition(": ")
            pytest.fail(reason, pytrace=False)
        return report

    def _check(self, workload: Any, settings: Any) -> CheckReport:
        from autobatch.check.live import as_target
        from autobatch.check.start import check_target

        module = getattr(self._request, "module", None)
        with as_target(workload, by_value=module) as target, _alone(self._lock):
            return check_target(target, settings)

    def _attach(self, report: CheckReport) -> None:
        from autobatch.check.report.document import figures_of

        node = self._request.node
        if report.measurement is not None:
            for name, value in figures_of(report.measurement).items():
                node.user_properties.append((f"autobatch_{name}", f"{value:.6g}"))
        for verdict in report.verdicts:
            node.user_properties.append((f"autobatch_{verdict.name}", verdict.status.value))
        node.add_report_section("call", "autobatch", _describe(report))


def _find_lack(positional: Sequence[Any], wanted: Mapping[str, Any]) -> str:
    """Why a test has to be skipped, or an empty string.

    Raises:
        pytest.UsageError: If its marker means nothing.
        AutobatchError: If a value of it cannot be used.
    """
    from autobatch.check.hardware import read_hardware
    from autobatch.check.records import HardwareLimits
    from autobatch.check.report.wording import sentence
    from autobatch.errors import DeviceUnavailableError
    from autobatch.records import Status

    if positional:
        raise pytest.UsageError(f"the marker takes names, not {positional[0]!r}")
    name = wanted.get("device", "auto")
    required = {key: value for key, value in wanted.items() if key != "device"}
    try:
        limits = _make(HardwareLimits, required)
    except TypeError as error:
        raise pytest.UsageError(str(error)) from None
    try:
        hardware = read_hardware(name, limits)
    except DeviceUnavailableError as error:
        return str(error)
    lacks = [each for each in hardware.judge(limits) if each.status is not Status.MET]
    return "; ".join(map(sentence, lacks))


def _make(record: type, keywords: Mapping[str, Any]) -> Any:
    return record(**_read(record, keywords))


def _read(record: type, keywords: Mapping[str, Any]) -> dict[str, Any]:
    from autobatch.records.options import read_keywords

    return read_keywords(record, keywords, caller=_MARKER)


def _describe(report: CheckReport) -> str:
    from autobatch.check.report.wording import conclusion, sentence

    lines = [conclusion(report), *(sentence(each) for each in report.verdicts), *report.notes]
    return "\n".join(lines)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other worker measures."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
