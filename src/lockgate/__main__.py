"""`python -m lockgate`."""

from .cli import main

main()
