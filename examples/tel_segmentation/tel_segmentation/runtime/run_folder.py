"""The names of the files in a run's folder.

config.json    the complete configuration, which ``tel train --resume`` reads
last.pt        the newest checkpoint; previous.pt is the one before it
best.pt        the checkpoint that was best on the validation set
history.jsonl  losses and evaluations during the training, one per line
panels/        pictures of training images
failures/      pictures of the evaluated images with the lowest scores
result.json    the record of the finished run
cost.json      time and memory as ``tel run`` measures them; its folder has no other of these files
"""

CONFIG = "config.json"
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
HISTORY = "history.jsonl"
PANELS = "panels"
FAILURES = "failures"
RESULT = "result.json"
COST = "cost.json"
