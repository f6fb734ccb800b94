"""What a process needs beside the learning: files that survive, signals, processes, memory."""
