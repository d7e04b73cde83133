#!/bin/bash
python loop.py --batch-size "$1"
echo "evaluating" > AFTER
echo "uploading" > AFTER_THAT
