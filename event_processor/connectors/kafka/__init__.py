"""Kafka: topics as sources.

Owns: options, clients, positions and chunks of `type = "kafka"`. `client.py` is the one file that imports confluent_kafka first.
Always: the position of each partition is in our checkpoint, not at the broker. An offset that is gone is exit code 65, never a silent reset.
Never: skips a record without a count that a person sees. Open `source.py` first.
"""
