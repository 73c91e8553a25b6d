"""The match IR: ordered first-match rules over sets of field values."""
