"""The plan IR: a graph of tests and lookups that decides."""
