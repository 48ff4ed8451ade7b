"""The version, and nothing else; the build and the command line read it from here."""

__version__ = "0.1.0"
