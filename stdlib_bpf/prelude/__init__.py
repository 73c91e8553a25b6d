"""The language's own library: files that a policy imports as `std/NAME.gate`. Policy text, no Python."""
