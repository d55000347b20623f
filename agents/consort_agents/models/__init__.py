"""Models behind one port: what is asked and answered (`port`), what goes wrong (`errors`), who answers (providers)."""
