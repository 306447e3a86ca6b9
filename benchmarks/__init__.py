"""Throughput of Millrace beside the limit of the same machine in the same minute (`make bench`)."""
