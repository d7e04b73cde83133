"""What a launcher such as ``torchrun`` tells each process that it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autobatch.ranks.settings import RanksSettings
from autobatch.records import Finding, Settings

if TYPE_CHECKING:
    from autobatch.ranks.prober import GroupProber


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """This process's place among those of a launcher.

    Attributes:
        rank: Which one.
        num_ranks: How many there are, on all nodes.
        host: Where their store is.
        port: Its port there.
        has_store: Whether the launcher keeps the store itself; else rank 0 does.
    """

    rank: int
    num_ranks: int
    host: str
    port: int
    has_store: bool

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Launched | None:
        """What the environment says; ``None`` if this process is by itself."""
        names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        if any(name not in environ for name in names) or environ["WORLD_SIZE"] == "1":
            return None
        return cls(
            rank=int(environ["RANK"]),
            num_ranks=int(environ["WORLD_SIZE"]),
            host=environ["MASTER_ADDR"],
            port=int(environ["MASTER_PORT"]),
            has_store=environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
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
        """
        from torch._C._distributed_c10d import TCPStore

        from autobatch.probe.worker.process import Process, start_process
        from autobatch.ranks.job import Job
        from autobatch.ranks.launch import ENTRY
        from autobatch.ranks.requests import RankLoadRequest

        hosts_it = self.rank == 0 and not self.has_store
        store = TCPStore(self.host, self.port, None, is_master=hosts_it, wait_for_workers=False)
        job = Job(store=store, rank=self.rank, num_ranks=self.num_ranks)
        meeting = job.meet({"target": target, "parallel": asked.parallel.value})

        def start(generation: int) -> Process:
            return start_process(settings.variables, ENTRY)

        def make_load_request(generation: int, number: int) -> RankLoadRequest:
            return RankLoadRequest(
                target=target,
                settings=settings,
                rank=self.rank,
                num_ranks=self.num_ranks,
                parallel=asked.parallel,
                host=self.host,
                port=self.port,
                prefix=meeting.prefix(generation),
                number=number,
            )

        return meeting.find(search, start, make_load_request, on_output)
