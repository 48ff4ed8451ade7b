"""What goes wrong when a listener is opened."""


class ListenError(Exception):
    """An address cannot be listened on; the text says which and why, for whoever configured it."""
