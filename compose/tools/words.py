"""A tool to begin with: put those of your own here, or name others in words.yaml."""

from __future__ import annotations

from consort_agents import tool


@tool
def count_words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())
