"""Syntax tree to checked policy, and what a policy means."""
