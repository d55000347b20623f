"""Trying an agent of any language against the wire contract, on a bus of its own.

`stage` plays the orchestrator for one agent and keeps a `record` of all that is said,
in the order in which the server had it; `trial` is what is tried, rule by rule, and
`verdicts` judges by what the record shows; `private` starts the bus and the agent.
"""
