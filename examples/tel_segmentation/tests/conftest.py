"""What the package's tests share."""

import os

# Before OpenMP is loaded: threads that wait sleep, since other test processes need the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("MPLBACKEND", "Agg")

import torch

import tel_segmentation as tel_segmentation  # before a test imports torchvision or timm

torch.set_num_threads(1)  # pytest-xdist has the cores
