"""A mark for tests that must cause no warning."""

from __future__ import annotations

import pytest

# Without what another test left open: that is found whenever memory is collected, and would fail any test.
no_warnings = pytest.mark.filterwarnings("error", "default::ResourceWarning")
