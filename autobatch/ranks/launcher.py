"""What a launcher such as ``torchrun`` or ``srun`` tells each process that it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from autobatch.errors import SettingsError, WorkerError, WorkloadError, first_line_of
from autobatch.ranks.settings import RanksSettings
from autobatch.records import Finding, Settings

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

    from autobatch.ranks.job import Meeting
    from autobatch.ranks.prober import GroupProber

# How launchers name the rank, the number of ranks, and the rank on its node. A batch script of
# Slurm, which is one process, has `SLURM_PROCID` and `SLURM_NTASKS` as well.
_NAMES = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
)
_MEETING_S = 60.0


class Place(NamedTuple):
    """Which process this is of those that a launcher started.

    Attributes:
        rank: Which one.
        num_ranks: How many there are, on all nodes.
        local_rank: Which one of those on its node.
        variable: The environment variable that says how many there are.
    """

    rank: int
    num_ranks: int
    local_rank: int
    variable: str


def find_place(environ: Mapping[str, str]) -> Place | None:
    """What the environment says; ``None`` if this process is by itself.

    Args:
        environ: Environment variables.
    """
    for rank, num_ranks, local_rank in _NAMES:
        if rank in environ and num_ranks in environ:
            count = int(environ[num_ranks])
            place = Place(int(environ[rank]), count, int(environ.get(local_rank, 0)), num_ranks)
            return place if count > 1 else None
    return None


def refuse_launcher(environ: Mapping[str, str], doing: str) -> None:
    """Refuse to do in several processes what one is to do.

    Args:
        environ: Environment variables.
        doing: What it does, such as ``tunes a target``.

    Raises:
        SettingsError: If a launcher started several.
    """
    place = find_place(environ)
    if place is not None:
        raise SettingsError(
            f"a launcher has started {place.num_ranks} processes ({place.variable}), and one alone "
            f"{doing}",
            hint="start autobatch without it",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """This process's place among those of a launcher, and where they meet.

    Attributes:
        place: Which process it is.
        host: Where their store is.
        port: Its port there.
        has_store: Whether the launcher keeps the store itself; else rank 0 does.
        attempt: How many times the launcher has started them before.
    """

    place: Place
    host: str
    port: int
    has_store: bool
    attempt: int = 0

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Launched | None:
        """What the environment says; ``None`` if this process is by itself.

        Raises:
            SettingsError: If it is not, and nothing says where they meet.
        """
        place = find_place(environ)
        if place is None:
            return None
        if "MASTER_ADDR" not in environ or "MASTER_PORT" not in environ:
            raise SettingsError(
                f"a launcher has started {place.num_ranks} processes ({place.variable}), and "
                "nothing says where they meet",
                hint="export MASTER_ADDR, the node of rank 0, and MASTER_PORT, a free port there",
            )
        return cls(
            place=place,
            host=environ["MASTER_ADDR"],
            port=int(environ["MASTER_PORT"]),
            has_store=environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            attempt=int(environ.get("TORCHELASTIC_RESTART_COUNT", 0)),
        )

    def find(
        self,
        target: str,
        settings: Settings,
        asked: RanksSettings,
        search: Callable[[GroupProber], Finding],
        on_output: Callable[[str], None],
    ) -> Finding:
        """Search a target together with the other processes.

        Args:
            target: As the user wrote it.
            settings: What to look for.
            asked: How the processes train together.
            search: Carried out on rank 0.
            on_output: Receives each line that the user's code prints.

        Returns:
            The finding, the same one on every rank.

        Raises:
            SettingsError: If they ask for different things.
            WorkerError: If they do not meet, or one is gone.
        """
        from autobatch.probe.worker.process import Process, start_process
        from autobatch.ranks.launch import ENTRY, ENTRY_BESIDE, make_variables
        from autobatch.ranks.requests import RankLoadRequest

        place = self.place
        # A launcher that starts all anew keeps its store, with what was said before.
        prefix = f"attempt/{self.attempt}"
        store = self._connect(prefix)  # which lives as long as this object, if rank 0 keeps it
        meeting = self._meet(store, target, settings, asked)
        variables = {
            "RANK": str(place.rank),
            "WORLD_SIZE": str(place.num_ranks),
            "LOCAL_RANK": str(place.local_rank),
        }

        def start(generation: int) -> Process:
            entry = ENTRY if place.rank == 0 else ENTRY_BESIDE
            return start_process(make_variables(settings, variables), entry)

        def make_load_request(generation: int, number: int) -> RankLoadRequest:
            return RankLoadRequest(
                target=target,
                settings=settings,
                rank=place.rank,
                num_ranks=place.num_ranks,
                parallel=asked.parallel,
                host=self.host,
                port=self.port,
                prefix=f"{prefix}/{meeting.prefix(generation)}",
                number=number,
            )

        return meeting.find(search, start, make_load_request, on_output)

    def _meet(self, store: Store, target: str, settings: Settings, asked: RanksSettings) -> Meeting:
        from autobatch.ranks.job import Job, describe_search

        place = self.place
        job = Job(store=store, rank=place.rank, num_ranks=place.num_ranks)
        said = {"target": target, "parallel": asked.parallel.value, **describe_search(settings)}
        try:
            return job.meet(said)
        except WorkloadError as error:
            raise WorkerError(str(error), hint="start the same command on every node") from None

    def _connect(self, prefix: str) -> Store:
        from torch._C._distributed_c10d import PrefixStore, TCPStore
        from torch.distributed import DistError

        hosts_it = self.place.rank == 0 and not self.has_store
        try:
            store = TCPStore(
                self.host, self.port, None, is_master=hosts_it, wait_for_workers=False,
                timeout=timedelta(seconds=_MEETING_S),
            )  # fmt: skip
        except DistError as error:
            raise WorkerError(
                f"rank {self.place.rank} cannot meet the others at {self.host}:{self.port}: "
                f"{first_line_of(error)}",
                hint="set MASTER_ADDR to the node of rank 0, and MASTER_PORT to a free port there",
            ) from None
        return PrefixStore(prefix, store)
