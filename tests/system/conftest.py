"""Fixtures of the tests of whole systems."""

from system_kit import system

__all__ = ["system"]
