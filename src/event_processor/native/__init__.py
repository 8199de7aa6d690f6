"""The hot path's kernels in C, for those who have a compiler: each does in one walk what numpy does in many.

Owns: the C sources, and a Python function for each kernel. `setup.py` compiles them where a C compiler is found, and is content where
none is: then the numpy twin of each kernel does the same work.
Always: a kernel and its twin give the same, bit for bit; a state that one has written, the other goes on with.
Never: a kernel decides anything that is not decided elsewhere: no record is rejected here, no file touched.
"""
