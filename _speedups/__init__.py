"""The data plane in Cython: all that happens per message. It knows no trio and no configuration."""
