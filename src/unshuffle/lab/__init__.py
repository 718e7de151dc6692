"""The laboratory: approaches by name, experiments as data, a ledger of results, a living plan."""
