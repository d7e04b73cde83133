"""When to look at the rounds so far, and how sure to be.

A check that looks after every round and stops at the first favourable result is wrong far more
often than a single look. So the looks (interim analyses) are fixed beforehand and share one
probability of error: each spends a part in proportion to the rounds it adds (Lan and DeMets 1983,
by Bonferroni's inequality, which holds however the looks depend on each other), and the last spends
the rest.
"""

from __future__ import annotations

# Each look has about a third more rounds than the one before.
LOOKS = (6, 8, 11, 15, 20, 27, 36, 48, 64, 85, 113, 150, 200)
MAX_ROUNDS = LOOKS[-1]
# Of either error: a figure within the limit judged beyond it, or one beyond it judged within.
ALPHA = 0.05


class Looks:
    """Hands out the probability of error, look by look."""

    def __init__(self) -> None:
        self._spent = 0.0

    def alpha_at(self, num_rounds: int, *, is_last: bool = False) -> float | None:
        """The probability of error on either side at this look.

        Args:
            num_rounds: Rounds so far.
            is_last: Whether there will be no further look.

        Returns:
            The probability, or ``None`` where it is not time for a look.
        """
        if not is_last and num_rounds not in LOOKS:
            return None
        share = 1.0 if is_last else num_rounds / MAX_ROUNDS
        alpha, self._spent = ALPHA * share - self._spent, ALPHA * share
        return alpha
