"""``find_batch_size()`` for those who train with a framework; each file is for one of them.

    lightning      a callback, in the place of ``BatchSizeFinder``
    transformers   a function of a ``Trainer``, before ``train()``
    accelerate     a function of what ``Accelerator.prepare`` returned

Each translates the framework's objects to those of the call, and its answer back. None imports
another, nor is any imported by the rest of the package.
"""
