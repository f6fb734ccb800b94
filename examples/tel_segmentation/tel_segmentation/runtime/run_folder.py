"""The names of the files in a run's folder.

config.json    the configuration, complete: what ``tel train --resume`` reads
last.pt        the newest checkpoint; previous.pt the one before it
best.pt        the checkpoint that was best on the validation set
history.jsonl  losses and evaluations over the training, a line each
panels/        pictures of training images
result.json    the record of the finished run
cost.json      instead of all these: time and memory, as ``tel run`` measures them
"""

CONFIG = "config.json"
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
HISTORY = "history.jsonl"
PANELS = "panels"
RESULT = "result.json"
COST = "cost.json"
