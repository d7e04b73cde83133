"""The search from end to end: load, run sizes, time them in turn, confirm, recommend.

load -> [next size -> trial]* -> [race -> trials in turn]* -> final run -> recommendation
             ^----------------------------'                       |
             newer timings may reopen the search                  '-> does not fit: step down

session    carries out what ``decide`` asks for
evidence   all that has been measured, and the decision from it
conclude   from the evidence to the finding
plans      how long each kind of trial times steps
beyond     searches after the answer: evaluation, buckets of lengths
"""

from autobatch.finder.session import find

__all__ = ["find"]
