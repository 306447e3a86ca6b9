"""The Kafka client: connections, topics, ranges, readers, headers, signing, the Schema Registry and dead letters."""
