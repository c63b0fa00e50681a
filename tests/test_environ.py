"""A copy of the environment, while somebody changes it."""

from __future__ import annotations

import os

from pytest_ephemeral_ns.environ import copied


class Vanishing(dict[str, str]):
    """As ``os.environ``, when another thread removes a variable between its name and its value."""

    def __getitem__(self, name: str) -> str:
        if name == "PYTEST_CURRENT_TEST":
            raise KeyError(name)
        return super().__getitem__(name)

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return default if name == "PYTEST_CURRENT_TEST" else super().get(name, default)


def test_a_variable_that_goes_meanwhile_is_left_out():
    assert copied(Vanishing(HOME="/root", PYTEST_CURRENT_TEST="test_it (call)")) == {"HOME": "/root"}


def test_the_real_environment_is_copied_whole():
    assert copied(os.environ) == dict(os.environ)
