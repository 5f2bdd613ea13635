"""Puts real orders through a running shop and sums up what became of them.

May import the retail reader, the supervisor's client and the verification; it talks to the shop over the gateway's HTTP
API alone, as any customer does.
"""
