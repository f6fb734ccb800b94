"""Settings that all tests of the package share."""

import os

# Set before OpenMP is loaded: waiting threads sleep, since other test processes need the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("MPLBACKEND", "Agg")

import torch
from tqdm import tqdm

import tel_segmentation as tel_segmentation  # before a test imports torchvision or timm

torch.set_num_threads(1)  # pytest-xdist uses the cores
tqdm.monitor_interval = 0  # no thread that could hold tqdm's lock while a test forks
