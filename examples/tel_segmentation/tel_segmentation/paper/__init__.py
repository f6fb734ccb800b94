"""The paper: its numbers, its recipes, and its tables as experiments that can be run.

``numbers`` is what the paper and the official README say, ``recipes`` how they train,
``experiments`` the two joined under names, ``methods`` what is here of every method that the tables
name, ``tables`` ours beside theirs.
"""
