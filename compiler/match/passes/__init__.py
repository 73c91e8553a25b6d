"""Passes over the match IR, one idea a file."""
