"""Decoding in further processes, so that a backlog is read with more than one core.

Owns: the processes, the memory that they share with this one, and the order in which chunks come back.
Always: chunks come back in the order in which they were handed in, each with what its format gives: nothing depends on who
decoded it. A worker holds nothing that matters: if one dies, its chunk is decoded here.
Never: a worker writes anything, knows the state, or outlives its parent.
"""
