"""What a process tells of itself while it works: logs, metrics, and whether it is well.

Each has a module of its own; importing this package starts and imports nothing.
"""
