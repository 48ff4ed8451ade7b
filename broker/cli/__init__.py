"""The command line: ``noctule`` with its sub-commands, one file each."""
