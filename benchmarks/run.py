"""Compare MQTT brokers: CPU time per message, throughput, losses, latency and memory, each in the same run.

See README.md beside it; ``python benchmarks/run.py --help`` lists the options and the scenarios.
"""

import sys

from suite.command import main

if __name__ == "__main__":
    sys.exit(main())
