"""``find_batch_size()`` for training frameworks, one file each.

    lightning      a callback, instead of ``BatchSizeFinder``
    transformers   a function of a ``Trainer``, before ``train()``
    accelerate     a function of what ``Accelerator.prepare`` returned

Each translates the framework's objects to those of the call, and its answer back. None imports
another, nor is any imported by the rest of the package.
"""
