"""One browser for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.report.browser import Browser, program


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium, or a skip."""
    if program() is None:
        pytest.skip("no Chromium here: scripts/install-test-packages installs it, as root on Debian")
    found = Browser(tmp_path_factory.mktemp("browser") / "profile")
    yield found
    found.close()
