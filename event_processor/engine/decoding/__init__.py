"""Decoding in this process, in threads, or in further processes.

Owns: the pool of workers, and how chunks travel to them.
Always: chunks return in the order in which they were submitted. A worker that dies costs its work and nothing else.
Never: decides about a record. Open `pool.py` first.
"""
