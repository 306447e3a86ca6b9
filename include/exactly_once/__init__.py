"""Exactly once: attempts, transactions, the ledger and the progress of each step."""
