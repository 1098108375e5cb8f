"""Length distributions against their specifications."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from scipy import stats

from simcluster.files.problems import InputError
from simcluster.numerics.streams import stream, uniforms
from simcluster.workload.lengths import LENGTHS, MAX_TOKENS, Lengths, Tokens, read_column

N = 100_000
ADAPTER: TypeAdapter[Any] = TypeAdapter(Lengths)
FILES = Path(__file__).parents[2] / "files" / "traces"
NEARLY_0, NEARLY_1 = 2.0**-53, 1 - 2.0**-53


def lengths(uniform: Any = None, **spec: Any) -> Tokens:
    """Tokens of N requests, or of the uniform numbers given."""
    read = ADAPTER.validate_python(spec)
    drawn = uniforms(stream(1, "test"), N) if uniform is None else np.array(uniform)
    return LENGTHS[read.kind](read, drawn, FILES)


def test_every_kind_has_a_function() -> None:
    """Each kind a scenario may name can be drawn."""
    kinds = {member.model_fields["kind"].annotation.__args__[0] for member in Lengths.__args__[0].__args__}
    assert set(LENGTHS) == kinds


def test_fixed() -> None:
    """A fixed length is the same for all."""
    assert [7, 7] == lengths([0.1, 0.9], kind="fixed", value=7).tolist()


def test_uniform_is_flat() -> None:
    """All integers of the range, both ends too, are equally likely: chi-square at p > 0.001."""
    drawn, counts = np.unique(lengths(kind="uniform", low=3, high=12), return_counts=True)
    assert list(range(3, 13)) == drawn.tolist()
    assert stats.chisquare(counts).pvalue > 0.001


@given(st.integers(1, MAX_TOKENS), st.integers(0, MAX_TOKENS))
def test_uniform_stays_inside(low: int, width: int) -> None:
    """The extreme uniform numbers give exactly the ends of the range."""
    high = min(low + width, MAX_TOKENS)
    assert [low, high] == lengths([NEARLY_0, NEARLY_1], kind="uniform", low=low, high=high).tolist()


@pytest.mark.parametrize(
    ("nominal", "from_ratio", "to_ratio", "low", "high"),
    [
        (1024, "80 %", "100 %", 819, 1024),
        (100, "29 %", "110 %", 29, 110),
        (1, "10 %", "20 %", 1, 1),
        (1000, "0 %", "200 %", 1, 2000),
        (1000, "0.5 x", "1.5 x", 500, 1500),
    ],
)
def test_uniform_parts_of_nominal(nominal: int, from_ratio: str, to_ratio: str, low: int, high: int) -> None:
    """Parts of a nominal length are rounded outwards, without binary dust, and are at least 1."""
    drawn = lengths([NEARLY_0, NEARLY_1], kind="uniform", nominal=nominal, from_ratio=from_ratio, to_ratio=to_ratio)
    assert [low, high] == drawn.tolist()


def test_lognormal_median_and_p99() -> None:
    """Half of the lengths are below the median and 1 % above p99, within 4 standard errors of the proportions."""
    drawn = lengths(kind="lognormal", median=5000, p99=40_000)
    for value, share in ((5000, 0.5), (40_000, 0.99)):
        assert abs(np.mean(drawn <= value) - share) < 4 * np.sqrt(share * (1 - share) / N)


def test_lognormal_shape() -> None:
    """Logarithms of the lengths pass KS for the normal at p > 0.001 where rounding to integers is negligible."""
    drawn = lengths(kind="lognormal", median=1_000_000, p99=8_000_000)
    normal = stats.norm(np.log(1e6), np.log(8) / stats.norm.ppf(0.99))
    assert stats.kstest(np.log(drawn), normal.cdf).pvalue > 0.001


def test_lognormal_quantiles_are_exact() -> None:
    """The uniform numbers 0.5 and 0.99 give the median and p99 themselves."""
    assert [512, 4096] == lengths([0.5, 0.99], kind="lognormal", median=512, p99=4096).tolist()


def test_lognormal_limits() -> None:
    """Lengths above `max` are set to it, and none is below 1."""
    assert [1, 600] == lengths([NEARLY_0, NEARLY_1], kind="lognormal", median=2, p99=500, max=600).tolist()
    assert [1, MAX_TOKENS] == lengths([NEARLY_0, NEARLY_1], kind="lognormal", median=1, p99=MAX_TOKENS).tolist()


def test_empirical_weights() -> None:
    """Values come as often as their weights say (chi-square at p > 0.001), those of weight 0 never."""
    drawn = lengths(kind="empirical", values=[30, 10, 20, 40], weights=[1, 2.5, 0, 0.5])
    values, counts = np.unique(drawn, return_counts=True)
    assert [10, 30, 40] == values.tolist()
    assert stats.chisquare(counts, N * np.array([2.5, 1, 0.5]) / 4).pvalue > 0.001


def test_empirical_is_monotone() -> None:
    """A larger uniform number never gives a shorter length, whatever the order of the values."""
    drawn = lengths([NEARLY_0, 0.3, 0.4, 0.9, NEARLY_1], kind="empirical", values=[9, 1, 5])
    assert [1, 1, 5, 9, 9] == drawn.tolist()


def test_empirical_column() -> None:
    """Values may come from a named column of a CSV file in the scenario's folder."""
    drawn = lengths([0.1, 0.5, 0.9], kind="empirical", file="column.csv", column="tokens")
    assert [10, 20, 1000] == drawn.tolist()


def test_column_that_is_not_there() -> None:
    """An unknown column is reported with the file, the line of the header and the name that was probably meant."""
    with pytest.raises(InputError, match=r"column\.csv:1: no column 'token'; did you mean 'tokens'\?"):
        read_column(FILES / "column.csv", "token")


def test_bad_cells_are_reported_together(tmp_path: Path) -> None:
    """All cells that are not lengths are reported with their lines."""
    file = tmp_path / "bad.csv"
    file.write_text("tokens\n5\n0\n-1\n1e3\n\n100000001\n9\n")
    with pytest.raises(InputError) as caught:
        read_column(file, "tokens")
    assert [3, 4, 5, 7] == [problem.line for problem in caught.value.problems]


@pytest.mark.parametrize("text", ["", "tokens\n", "tokens,tokens\n1,2\n", '"tokens\n1\n'])
def test_column_file_without_lengths(tmp_path: Path, text: str) -> None:
    """A file without rows, without a header, or with the column twice is refused."""
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=r"bad\.csv"):
        read_column(file, "tokens")
