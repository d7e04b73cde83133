"""The call from training code: the caller's objects in, an answer to train with out.

    objects, options --call--> Settings, Workload --finder--> Finding --answer--> TrainingFinding

call      find_batch_size()
options   keyword arguments, with the command line's names, to Settings
notice    progress, and the one line at the end
answer    a finding that can be applied to an optimizer, drawn, shown in a notebook
"""

from autobatch.training.answer import TrainingFinding
from autobatch.training.call import find_batch_size

__all__ = ["TrainingFinding", "find_batch_size"]
