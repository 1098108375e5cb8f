"""Cases of measured runs: how they are read, deployed, skipped, simulated and reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simcluster.calibrate.constants.points import is_fitted
from simcluster.calibrate.runs.cases import POSITIVE, read
from simcluster.calibrate.runs.deploy import Skipped, model, settings
from simcluster.calibrate.runs.simulated import simulate_all
from simcluster.cli import main
from simcluster.files.problems import InputError

HEADER = "system,backend,model,precision,tp_size,isl,osl,concurrency,ttft_ms,tpot_ms,origin,queueing\n"
GOOD = (
    "h100_sxm,vllm,meta-llama/Llama-3.1-8B-Instruct,fp8,1,256,8,4,30.0,6.0,InferenceMAX/InferenceX public run,False\n"
)


def cases_file(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "cases.csv"
    path.write_text(header + "".join(rows), encoding="utf-8")
    return path


def test_a_case_is_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON of `validate --cases` has counts, errors of both times, and a row for every simulated case."""
    file = cases_file(tmp_path, GOOD, GOOD.replace("h100_sxm", "tpu"), GOOD.replace("Llama-3.1-8B", "Nobody-9B"))

    assert main(["validate", "--cases", str(file), "--json", "--jobs", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cases"] == 1
    assert ["system 'tpu' is not known", "model 'meta-llama/Nobody-9B-Instruct' is not in the catalogue"] == [
        text.split(": ", 1)[1] for text in found["skipped"]
    ]
    for key, error in (("tpot", "tpot_err_pct"), ("ttft", "ttft_err_pct")):
        assert found[key]["median_abs_err_pct"] == pytest.approx(abs(found["rows"][0][error]), abs=1e-3)
        assert found[key]["mean_abs_err_pct"] == found[key]["median_abs_err_pct"]
    assert 3 < found["rows"][0]["predicted_tpot_ms"] < 12


def test_missing_columns_count_as_one(tmp_path: Path) -> None:
    """Without their columns there is one rank, one request at a time, and no stage but one."""
    header = "system,backend,model,precision,isl,osl,ttft_ms,tpot_ms\n"
    (case,) = read(cases_file(tmp_path, "h100_sxm,vllm,llama-3.1-8b,bf16,64,4,10,6\n", header=header))

    assert (1, 1, 1, 1) == (case.tp_size, case.pp_size, case.moe_ep_size, case.concurrency)


def test_a_picture_of_another_kind_is_refused_before_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The ending of a picture is looked at first; nothing is simulated, nothing written."""
    file = cases_file(tmp_path, GOOD)

    assert main(["validate", "--cases", str(file), "--plot", str(tmp_path / "v.txt")]) == 2
    assert capsys.readouterr().out == ""
    assert [file] == list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "said"), [("v.svg", "is a folder"), ("cases.csv/v.svg", "not a folder")])
def test_a_picture_that_cannot_be_written_is_refused_before_work(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A picture on a folder, or inside a file, is reported by its own name before anything is simulated."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.svg").mkdir()
    file = cases_file(tmp_path, GOOD)
    assert "cases.csv" == file.name

    assert main(["validate", "--cases", str(file), "--plot", name]) == 2
    out, err = capsys.readouterr()
    assert "" == out
    assert f"'{name}'" in err
    assert said in " ".join(err.split())


def test_faults_of_a_file_are_reported_with_their_lines(tmp_path: Path) -> None:
    """Values that are not numbers are reported with line and column; so are missing required columns."""
    with pytest.raises(InputError) as caught:
        read(cases_file(tmp_path, GOOD, GOOD.replace("256", "many").replace("6.0", "-1")))
    assert [(3, "isl"), (3, "tpot_ms")] == sorted((p.line, p.path) for p in caught.value.problems)

    with pytest.raises(InputError) as caught:
        read(cases_file(tmp_path, GOOD, "h100_sxm,vllm,x,fp8,0,0,0,0,0,0,y,False\n"))
    assert sorted(POSITIVE) == sorted(p.path for p in caught.value.problems)

    with pytest.raises(InputError) as caught:
        read(cases_file(tmp_path, "1\n", header="isl\n"))
    assert {"system", "model", "osl", "ttft_ms", "tpot_ms"} == {p.path for p in caught.value.problems}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (",4,30.0", ",,30.0", "no concurrency"),
        ("vllm", "llama.cpp", "backend 'llama.cpp'"),
        ("fp8", "fp6", "precision 'fp6'"),
        (",fp8,1,", ",fp8,16384,", "16384 devices"),
        (",fp8,1,", ",fp8,16,", "tensor parallel over 16 devices of h100_sxm: a node has 8"),
    ],
)
def test_what_is_not_known_is_skipped(tmp_path: Path, old: str, new: str, reason: str) -> None:
    """A case that leaves something open, or names something unknown, is skipped with the reason."""
    (case,) = read(cases_file(tmp_path, GOOD.replace(old, new)))
    with pytest.raises(Skipped, match=reason):
        settings(case)


def test_a_group_that_does_not_divide_is_skipped_not_guessed(tmp_path: Path) -> None:
    """A model that cannot be cut as the row says is reported as by the resolver."""
    (case,) = read(cases_file(tmp_path, GOOD.replace(",fp8,1,", ",fp8,5,")))

    assert "expected one of" in simulate_all([case])[0].skipped


def test_names_of_checkpoints_lead_to_shapes() -> None:
    """What a checkpoint was tuned for or stored as does not change its shape; another model is not guessed."""
    assert "llama-3.1-70b" == model("nvidia/Llama-3.1-70B-Instruct-FP8").name
    assert "deepseek-v3" == model("deepseek-ai/DeepSeek-R1-0528").name
    assert "llama-3.1-8b" == model("meta-llama/Meta-Llama-3.1-8B").name
    with pytest.raises(Skipped):
        model("Qwen/Qwen3-32B-Coder-Next")


def test_inference_max_and_gap_runs_differ(tmp_path: Path) -> None:
    """InferenceMAX draws lengths from 80 to 100 % and has as many places as requests; other runs are as stated."""
    one, other = read(cases_file(tmp_path, GOOD, GOOD.replace("InferenceMAX/InferenceX public run", "gap")))
    (drawn, _), (stated, _) = settings(one), settings(other)

    assert drawn["workload"]["prompt_tokens"]["kind"] == "uniform"
    assert stated["workload"]["prompt_tokens"] == {"kind": "fixed", "value": 256}
    assert 4 == drawn["deployment"]["max_num_seqs"]


def test_nothing_to_validate_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a suite nor cases: exit code 2; so is a suite without its data."""
    assert main(["validate"]) == 2
    assert main(["validate", "--suite", "kernels"]) == 2
    assert main(["fit", "--data", "nowhere-to-be-found"]) == 2
    assert "expected the folder of measured tables" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "said"),
    [((), "no rows"), ((GOOD.replace("h100_sxm", "tpu"),), "none of 1 rows can be simulated")],
)
def test_cases_of_which_none_can_be_played(
    rows: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A header alone, or rows that are all skipped, end with code 2 and the reasons; the JSON document stays."""
    file = str(cases_file(tmp_path, *rows))

    assert 2 == main(["validate", "--cases", file, "--plot", str(tmp_path / "v.svg")])
    out, err = capsys.readouterr()
    assert "" == out
    assert f"{file}: {said}; expected a row for each measured run" == err.splitlines()[0]
    assert len(rows) == err.count("system 'tpu' is not known")
    assert 2 == main(["validate", "--cases", file, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert 0 == found["cases"]
    assert len(rows) == len(found["skipped"])


def test_columns_that_are_not_read_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt column, which would count as 1, is reported with its neighbour; the cases are still simulated."""
    file = cases_file(tmp_path, GOOD, header=HEADER.replace("tp_size", "tpsize"))

    assert 0 == main(["validate", "--cases", str(file), "--jobs", "1"])
    assert f"{file}:1: tpsize: a column that is not read; did you mean 'tp_size'?\n" == capsys.readouterr().err


def test_rows_that_are_too_long_or_have_no_lengths(tmp_path: Path) -> None:
    """More values than columns, and lengths that are left open, are reported with their lines."""
    with pytest.raises(InputError) as caught:
        read(cases_file(tmp_path, GOOD.rstrip() + ",7\n", GOOD.replace("256,8", ",")))
    assert [(2, ""), (3, "isl"), (3, "osl")] == sorted((p.line, p.path) for p in caught.value.problems)


def test_speeds_are_printed_as_people_read_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Tens of thousands of tokens a second have no exponent."""
    assert 0 == main(["validate", "--suite", "wafer"])
    out = capsys.readouterr().out
    assert "20,321" in out
    assert "e+" not in out


def test_the_wafer_suite_needs_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    """Published speeds of wafers come along: WaferLLM within 15 %, Cerebras within 35 %."""
    assert main(["validate", "--suite", "wafer", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]

    assert 14 == len(rows)
    assert all(abs(row["err_pct"]) < (35 if row["what"] == "served" else 15) for row in rows)


def test_plot_is_the_same_for_the_same_cases(tmp_path: Path) -> None:
    """Two pictures of the same rows are equal to the byte, also in a folder that was not there."""
    file = cases_file(tmp_path, GOOD)
    pictures = [tmp_path / "a.svg", tmp_path / "new" / "b.svg"]
    for picture in pictures:
        assert main(["validate", "--cases", str(file), "--jobs", "1", "--plot", str(picture)]) == 0

    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_halves_are_a_fixed_coin() -> None:
    """A name falls into the same half whatever other names there are, and the halves are of a size."""
    names = [f"case {n}" for n in range(1000)]

    assert is_fitted(names[10:11])[0] == is_fitted(names)[10]
    assert 400 < is_fitted(names).sum() < 600
