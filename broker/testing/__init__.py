"""Tests that the author of a plugin can run against it; they need pytest and hypothesis."""

import pytest

# Before anything here is imported: so that a failed assertion shows its values.
pytest.register_assert_rewrite("noctule.testing.store_contract")
