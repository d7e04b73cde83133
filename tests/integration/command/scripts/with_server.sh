#!/bin/bash
# Starts something that is no Python, and outlives the training.
sleep 1000 &
(setsid sleep 1000 &)
python loop.py --batch-size "$1" --workers 1
