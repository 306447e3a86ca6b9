"""Everything that speaks to Kafka: connections, topics, ranges, readers, transactions and the embedded broker."""
