"""The load that ``noctule bench`` puts on a broker, and what it makes of the answers."""
