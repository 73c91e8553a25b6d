"""Benchmarks: what a packet, a build and a program cost. They print and record; no test depends on a time.

    python -m benchmarks [--quick]          everything, results into benchmarks/results/
    python -m benchmarks.edge               one of them; `--help` says what it takes

Times are from busy shared machines, so what is kept are ratios of things measured in turns within one run.
Only `instructions` gives numbers that are the same every time.
"""
