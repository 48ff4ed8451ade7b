"""Three plugins for Noctule, as an example."""
