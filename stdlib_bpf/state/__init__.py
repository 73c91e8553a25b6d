"""Counters and events: layouts shared by generated code and runtime."""
