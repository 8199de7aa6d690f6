"""The kernels in C, and their callers.

Owns: the compiled library; how arrays reach it.
Always: each call gives the same result as its counterpart in numpy or Python, bit for bit.
Never: imports a module of another room. Open `library.py` first, then `c/kernels.h`.
"""
