"""What a worker is asked of levers. Importing this module does not load PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

from autobatch.errors import WorkloadError
from autobatch.probe.protocol import Crash, JobContext
from autobatch.tuning.records import Facts, Truth


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsJob:
    """Say what decides which levers there are."""

    doing: ClassVar[str] = "while levers were looked for"

    def run(self, context: JobContext) -> Facts:
        """Look at the workload."""
        from autobatch.tuning.truth import find_facts

        return find_facts(context)

    def from_crash(self, crash: Crash) -> NoReturn:
        """Raise: without facts there is no tuning."""
        _refuse(self.doing, crash)


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthJob:
    """Compare a step with levers on with one without, on the same batch.

    Attributes:
        batch_size: Samples of the batch.
    """

    doing: ClassVar[str] = "while a step with levers was compared with one without"

    batch_size: int

    def run(self, context: JobContext) -> Truth:
        """Compare them."""
        from autobatch.tuning.truth import check_truth

        return check_truth(context, self.batch_size)

    def from_crash(self, crash: Crash) -> NoReturn:
        """Raise: what cannot be compared is not used."""
        _refuse(self.doing, crash)


def _refuse(doing: str, crash: Crash) -> NoReturn:
    raise WorkloadError(
        f"{doing}: {crash.message}", hint="run again with -v to see what it printed"
    )
