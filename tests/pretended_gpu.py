"""A pretended GPU: tensors of the CPU that say they are on cuda:0, and refuse to mix with others.

It finds what no emulation of kernels can: a test, or a function, that mixes tensors of two devices,
makes a new one where it does not belong, or reads one of the device as if it were of the host. With
TREEFILTER_PRETEND_GPU=1 it is one more device of the fixture ``device`` (``make test-pretended``).
It does not know streams and graphs, threads of Python, or what a kernel does with a wrong pointer.
"""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("cuda", 0)
MIXING = frozenset({  # which take tensors of several devices on a real GPU, too
    torch.Tensor.copy_, torch.Tensor.__getitem__, torch.Tensor.__setitem__,
    torch.Tensor.index_put_, torch.Tensor.index_put, torch.Tensor.type_as, torch.Tensor.to,
    torch._has_compatible_shallow_copy_type,
})  # fmt: skip
TO_HOST = frozenset({torch.Tensor.tolist, torch.Tensor.item, torch.Tensor.__repr__})
NEW = frozenset({  # which make a tensor where their argument says, not where others are
    torch.tensor, torch.as_tensor, torch.zeros, torch.ones, torch.full, torch.empty, torch.rand,
    torch.randn, torch.randint, torch.randperm, torch.arange, torch.linspace, torch.eye,
})  # fmt: skip

# Tests that it cannot perform, by a part of their names, and why.
BEYOND = {
    "test_in_a_sequence": "Module.to moves a parameter's data, not the parameter",
    "test_a_dendrogram_is_a_value": "torch.load(weights_only=True) knows no such class",
    "test_dendrogram.py::test_compiled": "torch.compile traces no such class",
    "test_bottleneck.py::test_derivatives": "tangents of forward mode lose their class",
    "test_bottleneck.py::test_torch_func": "torch.func's wrappers hide the class",
    "test_distance.py::test_same_bits_at_any_thread_count_and_batch_position[cuda-max]":
        "on the CPU index_put adds up in any order",
    "test_edge_weight.py::test_same_bits_at_any_thread_count_and_batch_position[cuda-chebyshev]":
        "on the CPU index_put adds up in any order",
}  # fmt: skip


def beyond(node_id):
    """Why a test cannot be performed, or None."""
    return next((why for name, why in BEYOND.items() if name in node_id), None)


class Pretended(torch.Tensor):
    """On the pretended device."""

    __torch_function__ = torch._C._disabled_torch_function_impl


def pretended(value):
    """The tensor, on the pretended device."""
    if not isinstance(value, torch.Tensor) or isinstance(value, Pretended):
        return value
    if value.requires_grad and value.is_leaf:  # it stays one
        return value.detach().as_subclass(Pretended).requires_grad_()
    return value.as_subclass(Pretended)


def host(value):
    return value.as_subclass(torch.Tensor) if isinstance(value, Pretended) else value


def is_gpu(device):
    return device is not None and torch.device(device).type == "cuda"


class PretendedGpu(TorchFunctionMode):
    """While it is entered, ``device="cuda"`` means the pretended one."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self._attribute(func, args)
        if func is torch.Tensor.__deepcopy__ and isinstance(args[0], Pretended):
            return pretended(host(args[0]).detach().clone())
        if func in (torch.Tensor.to, torch.Tensor.cuda, torch.Tensor.cpu):
            return self._moved(func, args, kwargs)
        if is_gpu(kwargs.get("device")):
            if kwargs.get("generator") is not None:
                raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
            kwargs["device"] = "cpu"
            return tree_map(pretended, func(*args, **kwargs))
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
        there = [t for t in tensors if isinstance(t, Pretended)]
        if not there:
            return func(*args, **kwargs)
        if func is torch.Tensor.numpy or func is torch.Tensor.__array__:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")
        others = [t for t in tensors if t.ndim and not isinstance(t, Pretended)]
        if others and func not in MIXING:
            raise RuntimeError(f"Expected all tensors to be on the same device, in {func}")
        result = func(*args, **kwargs)
        here = func in TO_HOST or func in NEW or kwargs.get("device") is not None
        return result if here else tree_map(pretended, result)

    def _attribute(self, func, args):
        value = args[0]
        if not isinstance(value, Pretended):
            return func(*args)
        which = func.__self__.__name__
        if which == "device":
            return DEVICE
        if which in ("is_cuda", "is_cpu"):
            return which == "is_cuda"
        return tree_map(pretended, func(*args))

    def _moved(self, func, args, kwargs):
        value, *rest = args
        target = kwargs.pop("device", None)
        kept = []
        for argument in rest:
            if isinstance(argument, torch.Tensor):
                target = DEVICE if isinstance(argument, Pretended) else "cpu"
                kwargs["dtype"] = argument.dtype
            elif isinstance(argument, str | torch.device):
                target = argument
            elif isinstance(argument, torch.dtype):  # else: whether to wait, or to copy
                kept.append(argument)
        if func is torch.Tensor.cuda:
            target = DEVICE
        elif func is torch.Tensor.cpu:
            target = "cpu"
        there = isinstance(value, Pretended) if target is None else is_gpu(target)
        moves = there != isinstance(value, Pretended)
        if moves:  # a copy, of which the other knows nothing
            value = value.clone()
        result = torch.Tensor.to(value, *kept, **kwargs) if kept or kwargs else value
        return pretended(result) if there else host(result)


class Native:
    """The native module, which is given what the pretended tensors really are."""

    def __init__(self, module):
        self._module = module

    def __getattr__(self, name):
        value = getattr(self._module, name)
        if not callable(value) or isinstance(value, type):
            return value
        return lambda *args: value(*(host(argument) for argument in args))
