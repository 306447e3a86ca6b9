"""Exactly once: transactions, the ledger and the progress of each step."""
