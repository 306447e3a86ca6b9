"""Everything that speaks to Kafka: connections, topics, ranges, reading, transactional writing and the embedded broker."""
