"""The process that starts a confined command, and all it asks of the kernel.

Runs by itself (`start.py`), on the standard library alone: it starts in a few hundredths of a second,
and nothing of the agent is in its memory. The agent imports only names and paths from here.
"""
