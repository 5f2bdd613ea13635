"""Puts real orders through a running shop and sums up the results.

May import the retail reader, the supervisor's client and the verification. It uses only the gateway's HTTP API, as a
customer does.
"""
