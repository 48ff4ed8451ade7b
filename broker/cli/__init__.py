"""The command line: ``noctule run``, ``noctule pub``, ``noctule sub``."""
