"""Shared tools: the process that hosts them, and how agents call them."""
