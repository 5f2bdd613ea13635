"""What engines that keep a file share: which file it is, who has it locked, proof that a process has died.

Its modules import the foundation and each other.
"""
