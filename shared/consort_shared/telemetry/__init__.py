"""Traces, metrics and health of Consort's processes.

Nothing here is loaded unless it is asked for by the environment: importing the
package imports no SDK. A program that hosts an agent keeps its own providers.
"""
