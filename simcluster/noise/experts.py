"""
The experts that the tokens of a step choose: sampled numbers of distinct experts of a layer.

Routers prefer some experts: the experts of a layer have popularities, lognormal and constant, keyed by the model and
the layer. A token chooses the top k of log popularity plus Gumbel noise, which is the same as drawing k experts one
after the other without replacement, each by its popularity among the remaining ones (Plackett-Luce). Tokens choose
independently of each other.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from simcluster.catalog.shapes import ModelShape, Moe
from simcluster.numerics.arrays import Floats
from simcluster.numerics.streams import stream, uniforms

ROUTINGS = 64
"""Sampled routings of each layer; a quantile of the number of experts is one of this many values in order."""
_SPARE = 4
"""Draws of a token beyond its top k, to replace repeats; experts still missing then are drawn in `_race`."""
MAX_EXPERTS = 1024
"""Most experts of a layer whose routings are sampled."""
_MAX_LAYERS = 128
"""Layers with popularities of their own; layer i + `_MAX_LAYERS` has those of layer i."""
_WORDS = 2**32
_NORMAL = NormalDist()
_MODELS_SEED = 0
"""Popularity is a property of a model, the same in every world."""

Counts = npt.NDArray[np.uint32]
Indices = npt.NDArray[np.intp]


class Routings:
    """
    Sampled routings of the layers of a model, each with popularities of its own.

    Sampling is exact, token after token, until experts have been chosen four times each on average. The few that are
    still untouched then are touched independently of each other, each at the rate at which it was chosen so far: they
    are too few for the constraint to matter that a token chooses k different ones.

    Args:
        model: name of the model; keys the popularities.
        moe: its experts.
        sigma: standard deviation of the logarithm of an expert's popularity; 0 is an even router.
        layers: their numbers in the model, one at least.

    Source:
        Efraimidis, Spirakis, "Weighted random sampling with a reservoir", IPL 97(5), 2006: the k least of Exp(1) / w
        are k draws without replacement by weights w. Walker, "New fast method for generating discrete random
        numbers", Electronics Letters 10(8), 1974: the draws with replacement, of which repeats are dropped.
    """

    def __init__(self, model: str, moe: Moe, sigma: float, layers: tuple[int, ...]) -> None:
        self._model = model
        self._moe = moe
        self._sigma = sigma
        self._layers = layers
        self.n_exact = -(-4 * moe.experts // moe.top_k)
        """Number of tokens up to which every choice is sampled."""
        self._sampled: tuple[Counts, Indices, Floats] | None = None
        self.touched = lru_cache(maxsize=512)(self._touched_by)

    def _touched_by(self, n_tokens: int) -> Indices:
        """
        Sample the number of distinct experts of each layer that `n_tokens` touch.

        Returns:
            Sampled values in ascending order, shape (layers, ROUTINGS).
        """
        shape = len(self._layers), ROUTINGS
        if n_tokens == 1:
            return np.full(shape, self._moe.top_k, np.intp)
        if self._sampled is None:
            self._sampled = self._sample()
        counts, rows, first = self._sampled
        found = counts[min(n_tokens, self.n_exact)].astype(np.intp)
        if n_tokens > self.n_exact:
            found += np.bincount(rows[first <= n_tokens], minlength=found.size)
        return np.sort(found.reshape(shape), axis=1)

    def _sample(self) -> tuple[Counts, Indices, Floats]:
        """
        Sample tokens one after the other, in all layers and routings at once.

        Returns:
            Experts touched by 0, 1, … tokens, shape (n_exact + 1, layers * ROUTINGS); then for each remaining expert
            its routing and the token that touches it.
        """
        n, n_rows = self._moe.experts, len(self._layers) * ROUTINGS
        choices = _Choices(self._model, self._moe, self._sigma, self._layers)
        counts = np.zeros((self.n_exact + 1, n_rows), np.uint32)
        for token in range(1, self.n_exact + 1):
            counts[token] = counts[token - 1] + choices.choose(token)
        rows, experts = np.nonzero(choices.last.reshape(n_rows, n) == 0)
        share = np.maximum(choices.times, 0.5).reshape(-1, n) / (ROUTINGS * self.n_exact)
        u = np.concatenate([uniforms(_stream(self._model, "later", layer), ROUTINGS * n) for layer in self._layers])
        more = np.log(u[rows * n + experts]) / np.log1p(-share[rows // ROUTINGS, experts])
        return counts, rows, self.n_exact + 1 + np.floor(more)


@lru_cache(maxsize=128)
def routings(model: str, moe: Moe, sigma: float, layers: tuple[int, ...]) -> Routings:
    """Make `Routings`, sampled once for all replicas and seeds."""
    return Routings(model, moe, sigma, tuple(layer % _MAX_LAYERS for layer in layers))


class _Choices:
    """The experts that tokens choose; rows are layers, and within layers routings."""

    def __init__(self, model: str, moe: Moe, sigma: float, layers: tuple[int, ...]) -> None:
        self._model = model
        self._top_k = moe.top_k
        self._layers = layers
        self._weights = np.array([popularity(model, layer, moe.experts, sigma) for layer in layers])
        below, other = zip(*map(_alias_table, self._weights), strict=True)
        self._below, self._other = np.array(below, np.int64).ravel(), np.array(other, np.intp).ravel()
        """Alias table of each layer and column, shape (layers * experts,)."""
        self._generators = [_stream(model, "choices", layer) for layer in layers]
        n_rows = len(layers) * ROUTINGS
        self._rows = np.arange(n_rows)
        self.last = np.zeros(n_rows * moe.experts, np.int32)
        """The last token that chose each expert of each row, 0 if none has."""
        self.times = np.zeros(self._weights.size, np.intp)
        """Count of tokens that chose each expert of each layer, over its routings."""

    def choose(self, token: int) -> Indices:
        """Choose experts of a token, from 1 on in order, in every row; count those chosen first, shape (rows,)."""
        n, n_draws = self._weights.shape[1], self._top_k + _SPARE
        words = np.stack([g.random_raw(n_draws * ROUTINGS).reshape(n_draws, ROUTINGS) for g in self._generators], 1)
        words = words.reshape(n_draws, -1)
        columns = ((words >> np.uint64(32)) * np.uint64(n) >> np.uint64(32)).astype(np.intp)
        within = (words & np.uint64(_WORDS - 1)).astype(np.int64)
        new, missing = np.zeros((2, len(self._rows)), np.intp)
        missing += self._top_k
        for draw, (column, low) in enumerate(zip(columns, within, strict=True)):
            rows = self._rows if draw < self._top_k else np.flatnonzero(missing)
            if not len(rows):
                return new
            column = column[rows]
            places = rows // ROUTINGS * n + column
            picked = np.where(low[rows] < self._below[places], column, self._other[places])
            self._take(token, rows, picked, new, missing)
        if missing.any():
            self._race(token, new, missing)
        return new

    def _take(self, token: int, rows: Indices, picked: Indices, new: Indices, missing: Indices) -> None:
        """Draw once with replacement in each of these rows; an expert that the token already has does not count."""
        n = self._weights.shape[1]
        places = rows * n + picked
        last = self.last[places]
        is_fresh = last != token
        self.last[places] = token
        missing[rows] -= is_fresh
        new[rows] += last == 0
        self.times += np.bincount((rows // ROUTINGS * n + picked)[is_fresh], minlength=len(self.times))

    def _race(self, token: int, new: Indices, missing: Indices) -> None:
        """Draw what is still missing without replacement: the least of exponential times over weights."""
        n = self._weights.shape[1]
        last = self.last.reshape(-1, ROUTINGS, n)
        for place in np.flatnonzero(missing.reshape(-1, ROUTINGS).any(axis=1)).tolist():
            u = uniforms(_stream(self._model, "race", self._layers[place], token), ROUTINGS * n)
            times = -np.log(u.reshape(ROUTINGS, n)) / self._weights[place]
            times[last[place] == token] = math.inf
            order = times.argsort(axis=1)
            rows = np.arange(place * ROUTINGS, (place + 1) * ROUTINGS)
            for which in range(int(missing[rows].max())):
                left = np.flatnonzero(missing[rows] > 0)
                self._take(token, rows[left], order[left, which], new, missing)


def popularity(model: str, layer: int, n_experts: int, sigma: float) -> Floats:
    """Draw the shares of the experts of a layer in the first choices of its tokens, shape (experts,)."""
    u = uniforms(_stream(model, "popularity", layer), n_experts)
    weights = np.array([math.exp(sigma * _NORMAL.inv_cdf(value)) for value in u.tolist()])
    return np.asarray(weights / weights.sum())


def _stream(model: str, what: str, *numbers: int) -> np.random.Philox:
    """Make a generator that depends on the model only and not on the seed of a run."""
    return stream(_MODELS_SEED, "moe_routing", model, what, *map(str, numbers))


def _alias_table(shares: Floats) -> tuple[list[int], list[int]]:
    """
    Make an alias table: equal columns, each shared by the column's own expert and one other.

    Returns:
        By column, the part of 2^32 that belongs to its own expert, and the expert that has the rest.
    """
    n = len(shares)
    left = (shares * n).tolist()
    below, other = [_WORDS] * n, list(range(n))
    small = [column for column in range(n) if left[column] < 1]
    large = [column for column in range(n) if left[column] >= 1]
    while small and large:
        column, giver = small.pop(), large[-1]
        below[column], other[column] = round(left[column] * _WORDS), giver
        left[giver] -= 1 - left[column]
        if left[giver] < 1:
            small.append(large.pop())
    return below, other


def varies(shape: ModelShape, on_wafer: bool, is_streamed: bool) -> bool:
    """
    Whether the time of a step depends on which experts its tokens choose.

    It does not where tokens choose all experts, nor on a wafer that keeps its weights, where each chosen expert of
    each token is a product of its own.
    """
    return shape.moe is not None and shape.moe.top_k < shape.moe.experts and (is_streamed or not on_wafer)
