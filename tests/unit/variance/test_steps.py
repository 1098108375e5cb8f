"""Steps of a run: sizes and samples are those of a plain count, however the token rows are cut into blocks."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import TWO_GPUS, loaded, recorded

from simcluster.noise.slices import STEPS_PER_BLOCK
from simcluster.results.read_run import RunFolder
from simcluster.variance.steps import Sample, StepCounter, step_summary


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("run")
    return recorded(loaded(folder, TWO_GPUS + "seed: 3\n"), folder / "run")


def test_sizes_and_steps_are_those_of_the_token_table(run: RunFolder) -> None:
    """Every step is counted once, its tokens being outputs and, at first tokens, whole prompts."""
    (table,) = run.tokens()
    steps = np.unique(np.stack([table["replica"], table["step"]]), axis=1)
    first = table["token"] == 0
    n_tokens = int(run.requests["prompt_tokens"][table["request"][first]].sum() + (~first).sum())
    found = step_summary(run)

    assert steps.shape[1] == found.n_steps == sum(size.n_steps for size in found.sizes)
    assert len(first) == sum(size.n_outputs for size in found.sizes)
    assert n_tokens == sum(size.n_tokens for size in found.sizes)
    assert steps[1].tolist() == found.samples[0].steps[0].tolist()


@given(cuts=st.sets(st.integers(1, 60)))
def test_blocks_do_not_matter(run: RunFolder, cuts: set[int]) -> None:
    """However the rows are cut into blocks, the sample is the same, and tokens and outputs add up to the same."""
    (table,) = run.tokens()
    counter, n_rows = StepCounter(run), len(table["token"])
    for a, b in pairwise([0, *sorted(cut for cut in cuts if cut < n_rows), n_rows]):
        counter.add({name: column[a:b] for name, column in table.items()})
    found, expected = counter.summary(), step_summary(run)

    assert expected.n_steps == found.n_steps
    assert expected.samples[0].steps.tolist() == found.samples[0].steps.tolist()
    for name in ("n_tokens", "n_outputs"):
        assert sum(getattr(one, name) for one in expected.sizes) == sum(getattr(one, name) for one in found.sizes)


@given(n_blocks=st.integers(1, 40), most=st.integers(1, 20), at_first=st.integers(1, 20))
def test_a_sample_is_thinned_to_what_it_would_have_been(n_blocks: int, most: int, at_first: int) -> None:
    """Blocks at distances of a power of two, as many as fit; thinning twice is thinning once."""
    numbers = np.arange(n_blocks * STEPS_PER_BLOCK)
    whole = Sample(np.stack([numbers, 10 * numbers]), 1)
    found = whole.at_most(most * STEPS_PER_BLOCK)
    blocks = Counter((found.steps[0] // STEPS_PER_BLOCK).tolist())

    assert list(range(0, n_blocks, found.stride)) == list(blocks)
    assert len(blocks) <= most
    assert found.stride == 1 or -(-n_blocks // (found.stride // 2)) > most
    earlier = whole.at_most(max(most, at_first) * STEPS_PER_BLOCK)
    assert found.steps.tolist() == earlier.at_most(most * STEPS_PER_BLOCK).steps.tolist()
