"""Frames and socket addresses to fields: the reference meaning."""
