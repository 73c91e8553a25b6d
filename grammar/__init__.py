"""The grammar files, as package data."""
