"""The drill: everything that only a GPU can show, in one run of about nine minutes.

    make gpu-build                                  # before, where nvcc is: what is carried there
    make gpu-check GPU_PYTHON=python3 OUT=results   # where the GPU is; needs no network
    make gpu-check DRY=1                            # a rehearsal on the CPU, in emulation

``steps`` is the table of its steps; each is a few processes with a limit of their own (``drill``).
No step stops the next one, what a process prints is in a file at once, and ``summary.md`` is
written again after each step, so that a run that is cut off has told what it found.
"""
