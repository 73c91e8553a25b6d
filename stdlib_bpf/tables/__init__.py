"""One lookup structure a file: build, model, cost."""
