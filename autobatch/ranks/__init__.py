"""Processes that train together: one batch size for all of them, found without a hang.

             leader: find() --> GroupProber                 one Trial, the group's
                |      ^
      requests  |      |  replies
                v      |
    rank 0 .. N-1: the worker that there is, one for each rank; it holds the wrapped model
                |  fork
    the trial's child: new backends inside the groups --> gated steps --> timed steps --> reply

What ranks tell each other goes through a store, never through their groups: a rank that waits in a
collective for one that is gone cannot be told anything.

    control   the store's words: failures, decisions        gate     before each collective
    groups    what is private in torch.distributed          room     the pace of a child
    place     where a child stands that does not end        forked   children of a rank
    share     memory and samples that ranks share           wrap     DDP, FSDP2, the user's own
    worker    answers requests for one rank                 launch   starts a worker for each
    merge     N replies --> one                             prober   the leader
"""
