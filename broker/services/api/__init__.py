"""The interface for programs over HTTP: what it answers, how, and its description."""
