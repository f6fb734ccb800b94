"""One module for each command of ``tel``, and modules that only commands use."""
