"""What a launcher tells, and what ranks of a job send each other."""

from __future__ import annotations

from typing import Any

import pytest

from autobatch.errors import SettingsError
from autobatch.probe.protocol import Crash, Failure, Limits, TimingPlan, TrialReply
from autobatch.probe.worker import process
from autobatch.ranks.launch import ENTRY, ENTRY_BESIDE
from autobatch.ranks.launcher import Launched, Place, refuse_launcher
from autobatch.ranks.orders import Answer, End, Ended, Load, Start, decode, encode
from autobatch.ranks.requests import RankTrialRequest
from autobatch.records import Outcome, RankReading, TimingRound, Trial

TORCHRUN = {
    "RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500", "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_RESTART_COUNT": "2",
}  # fmt: skip


SRUN = {
    "SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1",
}  # fmt: skip
MEETING = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}


def test_the_variables_of_torchrun_are_read() -> None:
    assert Launched.read(TORCHRUN) == Launched(
        place=Place(1, 4, 1, "WORLD_SIZE"), host="10.0.0.1", port=29500, has_store=True, attempt=2
    )


def test_the_variables_of_srun_are_read_where_a_script_says_where_to_meet() -> None:
    assert Launched.read(SRUN | MEETING) == Launched(
        place=Place(3, 4, 1, "SLURM_STEP_NUM_TASKS"), host="10.0.0.1", port=29500, has_store=False
    )


@pytest.mark.parametrize(
    ("variables", "without"),
    [
        (TORCHRUN | {"WORLD_SIZE": "1"}, ""),
        (TORCHRUN, "RANK"),
        # A batch script, which is one process whatever it starts.
        (SRUN | MEETING, "SLURM_STEP_NUM_TASKS"),
        # One process of torchrun in each of several tasks.
        (SRUN | TORCHRUN | {"WORLD_SIZE": "1"}, ""),
    ],
)
def test_a_process_by_itself_is_none_of_several(variables: dict[str, str], without: str) -> None:
    variables = {name: text for name, text in variables.items() if name != without}
    assert Launched.read(variables) is None
    refuse_launcher(variables, "tunes")


@pytest.mark.parametrize("variables", [SRUN, {"RANK": "0", "WORLD_SIZE": "4"}])
def test_processes_that_cannot_meet_are_refused(variables: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="has started 4 processes") as raised:
        Launched.read(variables)
    assert "MASTER_ADDR" in raised.value.hint
    with pytest.raises(SettingsError, match="one alone tunes"):
        refuse_launcher(variables, "tunes")


def test_one_worker_of_a_group_tells_others_that_a_search_runs() -> None:
    assert process._WORKER in ENTRY
    assert process._WORKER not in ENTRY_BESIDE


TIMED = TimingRound(number=0, step_times_s=(0.1,), data_times_s=(0.0,))


@pytest.mark.parametrize(
    "message",
    [
        Start(generation=2),
        Load(number=3),
        End(),
        Answer(document="{}"),
        Answer(failure=Failure(error="WorkloadError", message="a bug", hint="mend it")),
        Ended(exit_code=-9, stderr_tail="killed"),
        Crash(outcome=Outcome.KILLED, message="ended"),
        RankTrialRequest(
            batch_size=8, plan=TimingPlan(max_time_s=1.0), limits=Limits(budget_bytes=7), number=1
        ),
        TrialReply(
            trial=Trial(
                batch_size=8, outcome=Outcome.FITS, rounds=(TIMED,), ranks=(RankReading(rank=1),)
            )
        ),
    ],
    ids=lambda message: type(message).__name__,
)
def test_messages_survive_being_sent(message: Any) -> None:
    assert decode(encode(message).encode()) == message


def test_a_message_of_another_kind_is_refused() -> None:
    with pytest.raises(KeyError):
        decode(b'["Popen", {"args": "ls"}]')
