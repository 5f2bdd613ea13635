"""What engines with a file share: the identity of the file, the process that locks it, proof that a process has died.

The modules import the foundation and each other.
"""
