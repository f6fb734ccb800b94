"""One module for each command of ``tel``, and what only commands need."""
