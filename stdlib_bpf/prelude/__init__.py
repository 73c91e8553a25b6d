"""Networks and services every policy may name."""
