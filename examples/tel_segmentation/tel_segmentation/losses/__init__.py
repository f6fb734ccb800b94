"""The tree energy loss, cross entropy, and the losses of the methods compared with them.

``methods`` has the table of all methods; ``inputs`` defines what a loss receives and returns.
"""
