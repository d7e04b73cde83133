"""What a launcher tells, and what ranks of a job send each other."""

from __future__ import annotations

from typing import Any

import pytest

from autobatch.probe.protocol import Crash, Failure, Limits, TimingPlan, TrialReply
from autobatch.ranks.launcher import Launched
from autobatch.ranks.orders import Answer, End, Ended, Load, Start, decode, encode
from autobatch.ranks.requests import RankTrialRequest
from autobatch.records import Outcome, RankReading, TimingRound, Trial

TORCHRUN = {
    "RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500", "TORCHELASTIC_USE_AGENT_STORE": "True",
}  # fmt: skip


def test_the_variables_of_torchrun_are_read() -> None:
    launched = Launched.read(TORCHRUN)
    assert launched == Launched(rank=1, num_ranks=4, host="10.0.0.1", port=29500, has_store=True)


@pytest.mark.parametrize("change", [{"WORLD_SIZE": "1"}, {"RANK": None}, {"MASTER_PORT": None}])
def test_a_process_by_itself_is_none_of_several(change: dict[str, Any]) -> None:
    variables = {name: text for name, text in (TORCHRUN | change).items() if text is not None}
    assert Launched.read(variables) is None


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
