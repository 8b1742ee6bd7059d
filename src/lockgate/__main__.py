"""`python -m lockgate`."""

from lockgate.flows.cli import main

main()
