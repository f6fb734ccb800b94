"""How derivatives are attached to the native ops.

A :class:`Function` describes one differentiable function for every kind of derivative: reverse
mode, forward mode, ``torch.func`` and ``torch.compile``. :func:`call` runs it, :func:`recorded`
tells whether it is needed at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._C._functorch import (
    TransformType,
    _add_batch_dim,
    get_unwrapped,
    is_batchedtensor,
    is_functorch_wrapped_tensor,
    maybe_get_bdim,
    maybe_get_level,
)
from torch.autograd import forward_ad

_is_dynamo = torch.compiler.is_dynamo_compiling  # a constant for Dynamo, and cheap to ask for
_is_grad_enabled = torch.is_grad_enabled
_TRACING = (
    torch._C._TorchDispatchModeKey.FAKE,
    torch._C._TorchDispatchModeKey.PROXY,
    torch._C._TorchDispatchModeKey.FUNCTIONAL,
)


def _functorch_is_active() -> bool:
    return torch._C._are_functorch_transforms_active()


def _beyond_dynamo() -> bool:
    """Whether transformations are active that Dynamo would do wrong: all but one gradient, or maps.

    It calls the op itself there, which has no derivative: a gradient would be 0.
    """
    kinds = [level.key() for level in torch._C._functorch.get_interpreter_stack() or []]
    return kinds != [TransformType.Grad] and any(k != TransformType.Vmap for k in kinds)


# What torch._dynamo.assume_constant_result says, without an import of torch._dynamo.
_functorch_is_active._dynamo_marked_constant = True  # type: ignore[attr-defined]
_beyond_dynamo._dynamo_marked_constant = True  # type: ignore[attr-defined]


_DYNAMO_MESSAGE = (
    "treefilter: torch.compile(fullgraph=True) must be given at most one torch.func.grad or vjp,"
    " got several transformations or forward mode"
)


class Function(torch.autograd.Function):
    """A differentiable function: ``forward``, ``setup_context``, ``backward`` and ``tangent``.

    ``tangent`` is what torch calls ``jvp``: tangents of the inputs, ``None`` where there is none,
    to the tangent of the output. Under that name only a subclass has it, which eager calls use:
    ``torch.compile`` refuses every class with a ``jvp``.

    ``vmap`` rules follow from those of the ops inside (_vmap.py).
    """

    generate_vmap_rule = True

    _eager: ClassVar[type[Function]]
    _apply: ClassVar[Callable[..., Any]]

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Tensor | None) -> Tensor:
        """The derivative of the output along ``tangents``, with the tensors that were saved."""
        raise NotImplementedError

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "jvp" not in vars(cls):
            cls._eager = type(cls.__name__, (cls,), {"jvp": staticmethod(_jvp(cls))})
            # torch's own apply, without the wrapper in Python that looks at signatures: that takes
            # longer than all the rest of a call.
            cls._apply = super(torch.autograd.Function, cls._eager).apply  # type: ignore[misc]


def _jvp(function: type[Function]) -> Callable[..., Any]:
    """``tangent`` as torch calls it.

    torch switches forward mode off for this call, and so loses the tangents of the levels around
    this one: of a jvp inside of a jvp the outer one would be 0. Here it is switched on again; then
    the saved tensors must lose the tangents of this level, which ``tangent`` gets as arguments.
    """

    def jvp(ctx: Any, *tangents: Any) -> Any:
        with forward_ad._set_fwd_grad_enabled(True):
            return function.tangent(ctx, [_primal(t) for t in ctx.saved_tensors], *tangents)

    return jvp


def _primal(tensor: Any) -> Any:
    if tensor is None or not tensor.is_floating_point():
        return tensor
    if is_batchedtensor(tensor):  # torch.vmap knows no rule for unpack_dual
        dim, level = maybe_get_bdim(tensor), maybe_get_level(tensor)
        return _add_batch_dim(_primal(get_unwrapped(tensor)), dim, level)
    return forward_ad.unpack_dual(tensor).primal


def call(function: type[Function], *arguments: Any) -> Any:
    """Calls ``function`` so that its derivatives are recorded."""
    if _is_dynamo():
        if _functorch_is_active():
            if _beyond_dynamo():  # without fullgraph=True, Dynamo now leaves it to Python
                raise RuntimeError(_DYNAMO_MESSAGE)
            # Dynamo takes an argument of torch.func.grad for one without a gradient, but no view.
            arguments = tuple(
                t.view_as(t) if isinstance(t, Tensor) and t.is_floating_point() else t
                for t in arguments
            )
        return function.apply(*arguments)
    if not _functorch_is_active():
        return function._apply(*arguments)
    return function._eager.apply(*arguments)


def transformed() -> bool:
    """Whether forward mode or a transformation of ``torch.func`` is active, vmap included."""
    return forward_ad._current_level >= 0 or _functorch_is_active()


def recorded(first: Tensor, second: Tensor | None = None) -> bool:
    """Whether a derivative of any kind may be asked of what is computed from these tensors."""
    if _is_grad_enabled() and (
        first.requires_grad or (second is not None and second.requires_grad)
    ):
        return True
    return forward_ad._current_level >= 0 or _functorch_is_active()


def save(ctx: Any, *tensors: Tensor) -> None:
    """Keeps tensors for ``backward``, and for ``tangent`` where it can be asked for."""
    ctx.save_for_backward(*tensors)
    if forward_ad._current_level >= 0:
        ctx.save_for_forward(*tensors)


def constant(op: Callable[..., Any], *arguments: Any) -> Any:
    """The result of an op that is no function of its (detached) arguments for derivatives."""
    if forward_ad._current_level < 0:
        return op(*arguments)
    with forward_ad._set_fwd_grad_enabled(False):
        return op(*arguments)


def values_of(tensor: Tensor) -> Tensor | None:
    """What can be looked at of ``tensor`` to check its values.

    ``None`` where there are no values yet, and where reading them would wait for a GPU or break a
    traced graph; there the caller vouches for them.
    """
    if tensor.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    return readable(tensor)


def readable(tensor: Tensor) -> Tensor | None:
    """The tensor below torch.func's and torch.vmap's wrappers, in whatever order of dimensions.

    ``None`` where there are no values: on the meta device, in FakeTensorMode, while tracing. On a
    GPU, reading them waits for it.
    """
    if torch.compiler.is_exporting():
        return None
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        if type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
            return None  # what it has for values, its class says
        tensor = tensor.as_subclass(Tensor)
    if tensor.is_meta:
        return None
    if torch._C._len_torch_dispatch_stack() and any(map(torch._C._get_dispatch_mode, _TRACING)):
        return None
    return tensor


def unsaturated(tensor: Tensor) -> bool:
    """Whether all values lie inside of the range of their type.

    False where one is the largest number, an infinity or NaN, and where values cannot be seen.
    """
    values = values_of(tensor)
    if values is None or values.numel() == 0:
        return False
    low, high = torch.aminmax(values)
    largest = torch.finfo(values.dtype).max
    return bool(-largest < low and high < largest)


def refuse_gradients(arguments: tuple[Any, ...]) -> None:
    """RuntimeError where an op is traced that would lose a gradient, inside of torch.vmap say.

    A :class:`Function` switches gradients off while it runs.
    """
    if _is_grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in arguments):
        raise RuntimeError(
            "treefilter: ops must be called by the functions of treefilter where gradients are"
            " recorded, got a direct call, or torch.vmap inside of torch.compile (keep it outside)"
        )


def refuse_tangents() -> None:
    """RuntimeError where an op is called that would lose a tangent, by ``torch.ops`` say.

    An op cannot see whether its arguments have tangents: with ``torch.func.jvp`` these lie with
    another tensor. A :class:`Function` switches them off while it runs; that they are on means that
    there is none.
    """
    if forward_ad._current_level >= 0 and torch._C._is_fwd_grad_enabled():
        raise RuntimeError(
            "treefilter: ops must be called by the functions of treefilter in forward-mode"
            " differentiation, got a direct call, which has no forward-mode derivative"
        )
