"""Decoding in this process, in threads, or in further processes.

Owns: the pool of workers and how chunks travel to them.
Always: chunks come back in the order in which they were submitted; a worker that dies costs its work and nothing else.
Never: nothing is decided about a record. Open `pool.py` first.
"""
