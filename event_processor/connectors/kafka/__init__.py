"""Kafka: topics as sources and as sinks.

Owns: options, clients, positions and chunks of `type = "kafka"`, and the transactions of its sinks. `client.py` is the one file that imports confluent_kafka first.
Always: the position of each partition is in our checkpoint, not at the broker. An offset that is gone is exit code 65, never a silent reset.
The cursor of a sink is in the transaction of the records that it counts.
Never: skips a record without a count that a person sees. Open `source.py` or `sink_transactions.py` first.
"""
