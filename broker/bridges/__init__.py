"""Bridges to other brokers: each is a session here whose client is the other broker, topics renamed on the way."""
