"""Traces: which spans a run's log stands for, how they are exported, read back and checked.

A span that stands for facts of the log is derived from the log and from nothing else,
so it can be written by whoever is there, again if need be, and always comes out the same.
"""
