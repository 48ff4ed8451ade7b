"""The benchmark suite: what is measured, how brokers are run, and what becomes of the figures."""
