"""How a topic should be laid out: partitions, replicas, retention and sizes, by formulas that a reader can check."""
