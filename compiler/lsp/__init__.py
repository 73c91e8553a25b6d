"""The language server: what an editor asks of a policy while it is written. Needs the extra `editor`."""
