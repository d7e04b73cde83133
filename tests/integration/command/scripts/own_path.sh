#!/bin/bash
PYTHONPATH=. python loop.py --batch-size "$1"
