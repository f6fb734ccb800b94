"""The paper: its numbers, its recipes, and its tables as experiments that can be run.

``numbers`` has the results of the paper and of the official README, ``recipes`` the settings of
their training. ``experiments`` gives each result a name and its settings. ``methods`` lists which
of the paper's methods are implemented. ``tables`` shows our results beside the paper's.
"""
