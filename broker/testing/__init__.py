"""For the tests of plugins and of programs that speak MQTT: a broker, in a thread or in memory, and a plugin alone.

``running``, ``memory`` and ``harness`` have them; ``pytest_plugin`` makes fixtures of the first two.
"""

import pytest

# Before anything here is imported: so that a failed assertion shows its values.
pytest.register_assert_rewrite("noctule.testing.store_contract")
