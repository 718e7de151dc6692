"""Blocks of two layers of other forms than ``x + out(a(inp(x)))``.

They are what a search tries whose record no arrangement of that block reproduces. Weights lie as
they do there. So all that reads weights serves them too.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from unshuffle.blocks.activations import Activation
from unshuffle.blocks.bank import Mixtures
from unshuffle.blocks.mlp import INP, Affine, MlpBank, MlpNetwork, MlpStack, affine, pulled
from unshuffle.pieces.blueprint import Arrangement, Parts
from unshuffle.pieces.pile import Floats

# Of a place in a block: the value there, and its vector-Jacobian product.
Differentiable = tuple[Callable[[Floats], Floats], Callable[[Floats, Floats], Floats]]

EPSILON = 1e-5  # what PyTorch's norms add to a variance


@dataclass(frozen=True)
class Form:
    """What a block does beside its two layers.

    Parameters
    ----------
    formula
        What it computes, as text.
    before, behind, after
        What is done to the state that it reads, to what it writes, and to their sum: "a" for the
        activation, "norm" for a norm of each row without weights, "" for nothing.
    skip
        Whether it adds what it reads.
    factor
        What its out layer's weight and bias are multiplied by.
    """

    formula: str
    before: str = ""
    behind: str = ""
    after: str = ""
    skip: bool = True
    factor: float = 1.0

    @property
    def usual(self) -> bool:
        """Whether nothing but its factor tells it from the usual block."""
        return self.skip and not (self.before or self.behind or self.after)

    def scaled(self, factor: float) -> "Form":
        """The same with a factor on what the out layer writes."""
        formula = self.formula.replace("out(", f"{factor:.6g} * out(")
        return replace(self, factor=factor, formula=formula)


RESIDUAL = Form("x + out(a(inp(x)))")

# The other forms, those that are met most often first.
FORMS = (
    Form("a(x + out(a(inp(x))))", after="a"),
    Form("a(out(a(inp(x))))", after="a", skip=False),
    Form("out(a(inp(x)))", skip=False),
    Form("x + a(out(a(inp(x))))", behind="a"),
    Form("x + out(a(inp(a(x))))", before="a"),
    Form("x + out(a(inp(norm(x))))", before="norm"),
    Form("norm(x + out(a(inp(x))))", after="norm"),
)

FORMULAS = {form.formula: form for form in (RESIDUAL, *FORMS)}


def _norm(x: Floats) -> tuple[Floats, Floats]:
    """Rows of mean 0 and variance 1, and what they were divided by for it."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.mean(np.square(centred), axis=-1, keepdims=True)
    spread = np.sqrt(variance + np.asarray(EPSILON, x.dtype))
    return centred / spread, spread


def _norm_pulled(x: Floats, g: Floats) -> Floats:
    normed, spread = _norm(x)
    along = np.mean(g * normed, axis=-1, keepdims=True)
    pulled: Floats = (g - g.mean(axis=-1, keepdims=True) - normed * along) / spread
    return pulled


def _step(name: str, activation: Activation) -> Differentiable:
    if name == "a":
        return lambda x: activation.apply(x.copy()), lambda x, g: g * activation.derivative(x)
    return (lambda x: _norm(x)[0], _norm_pulled) if name else (lambda x: x, lambda x, g: g)


@dataclass(frozen=True, eq=False)
class _FormBlock:
    """Two layers, or such layers stacked along the first axes, as a block of some form."""

    inp: Affine
    out: Affine
    activation: Activation
    form: Form

    def apply(self, x: Floats) -> Floats:
        """Run the block on rows x of shape (…, n, width)."""
        return self._summed(x, self._written(x))

    def pullback(self, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product at x for g (…, n, width); leading axes are broadcast."""
        form, a = self.form, self.activation
        (before, before_pulled), (_, behind_pulled), (_, after_pulled) = (
            _step(name, a) for name in (form.before, form.behind, form.after)
        )
        if form.after:
            written = self._written(x)
            behind = _step(form.behind, a)[0](written)
            g = after_pulled(x + behind if form.skip else behind, g)
        back = behind_pulled(self._written(x), g) if form.behind else g
        z = affine(self.inp, before(x))
        back = ((back @ self.out[0]) * a.derivative(z)) @ self.inp[0]
        back = before_pulled(x, back)
        return np.asarray(g + back if form.skip else back)

    def _written(self, x: Floats) -> Floats:
        """What the out layer writes."""
        before, _ = _step(self.form.before, self.activation)
        return affine(self.out, self.activation.apply(affine(self.inp, before(x))))

    def _summed(self, x: Floats, written: Floats) -> Floats:
        form, a = self.form, self.activation
        behind = _step(form.behind, a)[0](written)
        return _step(form.after, a)[0](x + behind if form.skip else behind)


@dataclass(frozen=True, eq=False)
class FormStack(MlpStack):
    """A stack of K blocks of some form."""

    form: Form = RESIDUAL

    def __str__(self) -> str:
        return f"{super().__str__()} as {self.form.formula}"

    def _block(self, place: int | slice | tuple[slice | None, ...]) -> _FormBlock:
        (inp, inp_bias), (out, out_bias) = self.inp, self.out
        return _FormBlock(
            (inp[place], inp_bias[place]),
            (out[place], out_bias[place]),
            self.activation,
            self.form,
        )

    def apply(self, place: int, x: Floats) -> Floats:
        """Run one block on rows x of shape (n, width). It returns a new array of that shape."""
        self.work.forward(len(x))
        return self._block(place).apply(x)

    def pullback(self, place: int, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of one block at x, shape (n, width), for g (…, n, width)."""
        self.work.add(pulled(x, g))
        return self._block(place).pullback(x, g)

    def apply_each(self, x: Floats) -> Floats:
        """Run each block on rows of its own. `x` and the result have shape (K, n, width)."""
        self.work.forward(x.size // self.width)
        return self._block(slice(None)).apply(x)

    def pullback_each(self, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian products of each block: x (K, n, width), g (K, outputs, n, width)."""
        self.work.add(pulled(x, g))
        return self._block((slice(None), None)).pullback(x[:, None], g)

    def replaced(self, place: int, role: int, others: MlpStack, x: Floats, g: Floats) -> Floats:
        """Projected steps of a block with each other inp, or out, layer; see `Stack.replaced`."""
        self.work.add(2 * len(x) * len(others))
        own = self._block(place)
        inp, out = (others.inp, own.out) if role == INP else (own.inp, others.out)
        steps = replace(own, inp=inp, out=out).apply(x[None]) - x
        projected: Floats = np.einsum("ond,knd->nko", g, steps)
        return projected


@dataclass(frozen=True, eq=False)
class FormBank(MlpBank):
    """The inp and out layers of a pile, any two of which make a block of this form."""

    form: Form = RESIDUAL

    def apply(self, parts: Parts, x: Floats) -> Floats:
        """Run the block of two layers on rows x of shape (n, width)."""
        return self.take(parts[None]).apply(0, x)

    def pullback(self, parts: Parts, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of the block of two layers; see `MlpStack.pullback`."""
        return self.take(parts[None]).pullback(0, x, g)

    def take(self, arrangement: Arrangement) -> FormStack:
        """The blocks of an arrangement in a row."""
        return _as(self.form, super().take(arrangement))

    def mixed(self, arrangement: Arrangement, mixtures: Mixtures) -> FormStack:
        """The blocks of an arrangement, with weighted means of pieces in some roles."""
        return _as(self.form, super().mixed(arrangement, mixtures))


def _as(form: Form, blocks: MlpStack) -> FormStack:
    """The blocks with another form."""
    return FormStack(*blocks.inp, *blocks.out, blocks.activation, form, work=blocks.work)


def form_of(blocks: MlpStack) -> Form:
    """The form of blocks."""
    return blocks.form if isinstance(blocks, FormStack) else RESIDUAL


def formed(network: MlpNetwork, formula: str) -> MlpNetwork:
    """The network with blocks that compute a formula with the same weights."""
    form, blocks = FORMULAS[formula], network.blocks
    return network if form == form_of(blocks) else MlpNetwork(_as(form, blocks), network.last)
