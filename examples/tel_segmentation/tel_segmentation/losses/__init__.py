"""The tree energy loss, cross entropy, and the losses that they are compared with.

``methods`` is the table of them; ``inputs`` says what a loss gets and what it returns.
"""
