"""Other people's policies as `.gate`: one package or file for each language that is read.

An importer reads files to policies in the shared form of `model.py`; `write.py` makes text of it. What has no
exact words here is a finding (`errors`, family 10), never left out. Knows how the formatter lays text out;
must never know a later stage.
"""
