"""Where the bytes come from: listeners, the reactor's pump, and a trio task for each connection without a socket."""
