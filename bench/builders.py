# SPDX-License-Identifier: BSD-3-Clause
"""Builds the variants that most operations share: torch, torch.compile, jax and logloss.

A peer states an operation as a formula: given the case it loads its library and returns the
function of the named arrays. The names are those of logloss, which it shares with torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bench import peers
from bench.inputs import aligned_empty, random_normal
from bench.operation import OURS, OURS_OUT, TORCH, Array, Builder, Call, Case, Operation, Target
from bench.yardsticks import Divisor, Inputs, own_yardsticks, scalar_function, scalar_loss

Formula = Callable[[Case], Callable[..., Any]]
Options = Callable[[Case], dict[str, Any]]


def no_options(case: Case) -> dict[str, Any]:
    return {}


def loss_operations(
    name: str,
    *,
    cases: Sequence[Case],
    quick_cases: Sequence[Case],
    inputs: Inputs,
    reference: Callable[..., tuple[Array, ...]],
    torch: Formula,
    jax: Formula,
    forward_peers: Mapping[str, Builder],
    backward_peers: Mapping[str, Builder] | None = None,
    options: Options = no_options,
    reads: int = 2,
    wrt: tuple[str, ...] = ("input",),
    backward_cases: Sequence[Case] | None = None,
    targets: Sequence[Target] = (),
    backward_targets: Sequence[Target] = (),
    backward_yardsticks: Mapping[str, Builder] | None = None,
    divisor: Divisor | None = None,
    title: str = "",
) -> tuple[Operation, Operation]:
    """Return a loss forward, and forward with the gradients of the inputs named in `wrt`.

    `reference` returns the loss and those gradients; `options` are keywords of logloss;
    `backward_cases` stand in for `cases` where there is a gradient; `divisor`, for a loss that
    scalar_libm.c has as well, is that of its mean; `title` is its name in tables, if another.
    """
    mine = partial(logloss_call, name, options)
    forward = Operation(
        name=f"{title or name} forward",
        reads=reads,
        writes=0,
        cases=cases,
        quick_cases=quick_cases,
        inputs=inputs,
        reference=lambda case, **arrays: reference(case, **arrays)[:1],
        variants={
            TORCH: partial(torch_forward, torch),
            "torch.compile": partial(torch_forward, torch, compiled=True),
            "jax": partial(jax_forward, jax),
            **forward_peers,
            OURS: mine,
        },
        yardsticks={
            **own_yardsticks(mine, inputs),
            **(scalar_loss(name, divisor) if divisor else {}),
        },
        targets=targets,
    )
    both = f"{name}_value_and_grad"
    mine_out = partial(logloss_call, both, options, out=wrt)
    backward = Operation(
        name=f"{title or name} forward+backward",
        reads=reads,
        writes=len(wrt),
        cases=backward_cases or cases,
        quick_cases=quick_cases,
        inputs=inputs,
        reference=reference,
        variants={
            TORCH: partial(torch_forward_backward, torch, wrt),
            "torch.compile": partial(torch_forward_backward, torch, wrt, compiled=True),
            "jax": partial(jax_forward_backward, jax, wrt),
            **(backward_peers or {}),
            OURS: partial(logloss_call, both, options),
            OURS_OUT: mine_out,
        },
        yardsticks={**own_yardsticks(mine_out, inputs), **(backward_yardsticks or {})},
        targets=backward_targets,
    )
    return forward, backward


def function_operations(
    name: str,
    *,
    cases: Sequence[Case],
    quick_cases: Sequence[Case],
    inputs: Inputs,
    reference: Callable[..., tuple[Array]],
    reference_backward: Callable[..., tuple[Array]],
    torch: Formula,
    jax: Formula,
    forward_peers: Mapping[str, Builder],
    backward_peers: Mapping[str, Builder] | None = None,
    options: Options = no_options,
    reduces: bool = False,
    wrt: str = "input",
    backward_cases: Sequence[Case] | None = None,
    targets: Sequence[Target] = (),
    backward_targets: Sequence[Target] = (),
) -> tuple[Operation, Operation]:
    """Return a function of one array, named `wrt`, forward, and backward alone.

    If it `reduces`, its output has one value per row, else the shape of the array.
    torch and jax work backward from what they keep; logloss works from its input.
    `backward_cases` stand in for `cases` backward.
    """

    def backward_inputs(case: Case) -> dict[str, Array]:
        shape = case.shape
        if reduces and case.axis is not None:
            shape = shape[: case.axis] + shape[case.axis + 1 :]
        grad_output = random_normal(replace(case, shape=shape), scale=1.0, seed=9)
        return {**inputs(case), "grad_output": grad_output}

    fresh = partial(logloss_call, name, options)
    mine = fresh if reduces else partial(fresh, out=(wrt,))
    forward = Operation(
        name=f"{name} forward",
        reads=1,
        writes=0 if reduces else 1,
        cases=cases,
        quick_cases=quick_cases,
        inputs=inputs,
        reference=reference,
        variants={
            TORCH: partial(torch_forward, torch),
            "torch.compile": partial(torch_forward, torch, compiled=True),
            "jax": partial(jax_forward, jax),
            **forward_peers,
            OURS: fresh,
            **({} if reduces else {OURS_OUT: mine}),
        },
        yardsticks={**own_yardsticks(mine, inputs), **scalar_function(name, reduces=reduces)},
        targets=targets,
    )
    backward_out = partial(logloss_call, f"{name}_backward", options, out=(wrt,))
    backward = Operation(
        name=f"{name} backward",
        reads=1 if reduces else 2,
        writes=1,
        cases=backward_cases or cases,
        quick_cases=quick_cases,
        inputs=backward_inputs,
        reference=reference_backward,
        variants={
            TORCH: partial(torch_backward, torch),
            "jax": partial(jax_backward, jax),
            **(backward_peers or {}),
            OURS: partial(logloss_call, f"{name}_backward", options),
            OURS_OUT: backward_out,
        },
        yardsticks=own_yardsticks(backward_out, backward_inputs),
        targets=backward_targets,
    )
    return forward, backward


def torch_forward(formula: Formula, case: Case, *, compiled: bool = False, **arrays: Array) -> Call:
    function = _torch_function(formula, case, compiled)
    tensors = {name: peers.torch_tensor(array) for name, array in arrays.items()}
    return lambda: function(**tensors)


def torch_forward_backward(
    formula: Formula, wrt: tuple[str, ...], case: Case, *, compiled: bool = False, **arrays: Array
) -> Call:
    function = _torch_function(formula, case, compiled)
    tensors = {name: peers.torch_tensor(array) for name, array in arrays.items()}
    leaves = [tensors[name].requires_grad_() for name in wrt]

    def call() -> tuple[Any, ...]:
        for leaf in leaves:
            leaf.grad = None
        loss = function(**tensors)
        loss.backward()
        return loss, *(leaf.grad for leaf in leaves)

    return call


def torch_backward(formula: Formula, case: Case, *, grad_output: Array, **arrays: Array) -> Call:
    torch = peers.load("torch")
    ((name, array),) = arrays.items()
    x, g = peers.torch_tensor(array).requires_grad_(), peers.torch_tensor(grad_output)
    y = formula(case)(**{name: x})
    return lambda: torch.autograd.grad(y, x, g, retain_graph=True)


def _torch_function(formula: Formula, case: Case, compiled: bool) -> Callable[..., Any]:
    return peers.torch_compile(formula(case)) if compiled else formula(case)


def jax_forward(formula: Formula, case: Case, **arrays: Array) -> Call:
    jax = peers.load("jax")
    function = jax.jit(formula(case))
    operands = {name: jax.numpy.asarray(array) for name, array in arrays.items()}
    return lambda: function(**operands).block_until_ready()


def jax_forward_backward(
    formula: Formula, wrt: tuple[str, ...], case: Case, **arrays: Array
) -> Call:
    jax = peers.load("jax")
    function = formula(case)

    def loss_and_grads(operands: dict[str, Any]) -> tuple[Any, ...]:
        def loss_of(chosen: dict[str, Any]) -> Any:
            return function(**{**operands, **chosen})

        loss, grads = jax.value_and_grad(loss_of)({name: operands[name] for name in wrt})
        return loss, *(grads[name] for name in wrt)

    compiled = jax.jit(loss_and_grads)
    operands = {name: jax.numpy.asarray(array) for name, array in arrays.items()}
    return lambda: jax.block_until_ready(compiled(operands))


def jax_backward(formula: Formula, case: Case, *, grad_output: Array, **arrays: Array) -> Call:
    jax = peers.load("jax")
    ((name, array),) = arrays.items()
    function = formula(case)
    x, g = jax.numpy.asarray(array), jax.numpy.asarray(grad_output)
    _, pullback = jax.vjp(jax.jit(lambda operand: function(**{name: operand})), x)
    apply = jax.jit(lambda pull, grad: pull(grad))
    return lambda: jax.block_until_ready(apply(pullback, g))


def logloss_call(
    name: str, options: Options, case: Case, *, out: tuple[str, ...] = (), **arrays: Array
) -> Call:
    """Call a function of logloss, with `out` arrays shaped as the arrays of those names."""
    function = getattr(peers.load("logloss"), name)
    keywords = {**arrays, **options(case)}
    outputs = tuple(aligned_empty(arrays[name].shape, case.dtype) for name in out)
    if outputs:
        keywords["out"] = outputs if len(outputs) > 1 else outputs[0]
    return lambda: function(**keywords)
