"""Adapters: one package a technology, one module a port. Found by URL scheme; imported by nothing but the composition
root.
"""
