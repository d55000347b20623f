"""What a process tells of itself while it works: logs, metrics, traces, and whether it is well.

Each has a module of its own. Importing this package starts and imports nothing, and no SDK
is loaded unless the environment asks for it. A program that hosts an agent keeps its own providers.
"""
