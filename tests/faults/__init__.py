"""The fault suite: real processes and brokers are killed, stopped and starved, and an independent reader counts."""
