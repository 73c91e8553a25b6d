"""Policies to read and run, each with its packets and the verdicts they must get. Data, no code."""
