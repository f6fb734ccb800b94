"""Readers of what annotation tools write: one module a tool, one form for all (``shapes``).

``registry`` has the table of the formats. ``draw`` makes label maps of shapes; ``fields`` and
``runs`` are what the readers share.
"""
