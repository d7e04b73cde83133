"""The search from end to end: load, run sizes, time them in turn, confirm, recommend.

load -> [next size -> trial]* -> [contest -> trials in turn]* -> confirm -> recommendation
             ^------------------------------'                      |
             newer timings may open the search again               '-> does not hold: step down

session    runs it; holds what is known so far
evidence   what follows from the trials so far: rates, knee, choice
conclude   from the evidence to the finding
"""

from autobatch.finder.session import find

__all__ = ["find"]
