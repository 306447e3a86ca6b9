"""The embedded broker: Apache Kafka itself, for development and tests, from Python packages and locked jars."""

from include.local.broker.cluster import Cluster
from include.local.broker.lifecycle import default_data_dir, running_cluster, start_in_background
from include.local.broker.node import Node
from include.local.errors import BrokerError

__all__ = ["BrokerError", "Cluster", "Node", "default_data_dir", "running_cluster", "start_in_background"]
