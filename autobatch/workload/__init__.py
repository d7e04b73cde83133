"""What the user trains: from a file or live objects to batches, a loss and an optimizer.

TARGET --files--> namespace --names--> Workload --> TrainingTask (model, batches, loss ...)
"""
