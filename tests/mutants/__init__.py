"""Faults planted on purpose: `make mutants`."""
