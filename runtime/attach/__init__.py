"""One hook a file: attach, replace, detach."""
