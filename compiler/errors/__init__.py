"""The catalogue of diagnostics: one class an error, with its manual page."""
