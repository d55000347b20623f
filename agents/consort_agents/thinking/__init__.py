"""Thinking: asking models (`asking`), working with tools (`loop`), what bounds it (`limits`, `guard`, `compaction`)."""
