"""Which runs there are, what determines them, and that no window is trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.benchmark import small
from tsdiff.benchmark import data, plan
from tsdiff.benchmark.configuration import Configuration
from tsdiff.benchmark.data import DatasetSpec, Missing, Synthetic, load, pinned
from tsdiff.benchmark.plan import Job, UnknownNameError, make_plan
from tsdiff.datasets import DataError

SPEC = DatasetSpec("walk", num_windows=5, synthetic=Synthetic(2, 300, 3, 6))


def test_a_backtest_ends_before_the_test_windows_and_trains_before_its_own():
    late, early = load(SPEC, "literature"), load(SPEC, "backtest")
    first_test_step = late.windows[0]["target"].shape[1] - 6
    assert late.train[0]["target"].shape[1] == first_test_step == 300
    assert [w["target"].shape[1] for w in early.windows] == [276, 282, 288, 294, 300]
    assert early.train[0]["target"].shape[1] == 270
    np.testing.assert_array_equal(early.train[0]["target"], late.train[0]["target"][:, :270])


def test_the_ending_holds_the_test_windows_and_trains_before_all():
    late, last = load(SPEC, "literature"), load(SPEC, "ending")
    assert [w["target"].shape[1] for w in last.windows] == [294, 300, 306, 312, 318]
    for one, other in zip(late.windows, last.windows[-3:], strict=True):
        np.testing.assert_array_equal(one["target"], other["target"])
    assert last.train[0]["target"].shape[1] == 288


def test_covariates_count_among_the_data():
    task = load(SPEC, "literature")
    length = task.train[0]["target"].shape[1]
    one = replace(task, train=[{**task.train[0], "feat_dynamic_real": np.zeros((1, length))}])
    other = replace(task, train=[{**task.train[0], "feat_dynamic_real": np.ones((1, length))}])
    assert len({task.fingerprint(), one.fingerprint(), other.fingerprint()}) == 3


def test_real_windows_stand_as_they_should():
    spec = DatasetSpec("ecb_exchange_rate", num_windows=30)
    late, early = load(spec, "literature"), load(spec, "backtest")
    assert (len(late.windows), len(early.windows)) == (5, 30)
    end = early.windows[-1]["target"].shape[1]
    assert end == late.windows[0]["target"].shape[1] - 30 == late.train[0]["target"].shape[1]
    assert early.train[0]["target"].shape[1] == end - 30 * 30


def test_too_many_windows_are_refused():
    with pytest.raises(DataError, match="more than half of the 300 steps"):
        load(replace(SPEC, num_windows=26), "backtest")


def test_jobs_are_all_combinations(tmp_path):
    found = small.read(
        tmp_path,
        ("seeds = [0]", "seeds = [0, 7]"),
        ('["literature"]', '["literature", "backtest"]'),
    )
    jobs = make_plan(found).jobs
    assert len({job.key for job in jobs}) == len(jobs) == 2 * 2 * 4
    assert len({job.digest for job in jobs}) == len(jobs)
    assert {job.kind for job in jobs} == {"naive", "model"}
    for job in jobs:
        assert Job.from_json(job.to_json()) == job


def test_only_keeps_naive_baselines(tmp_path):
    found = small.read(
        tmp_path,
        ('["naive"]', '["naive", "statistical"]'),
        ('["literature"]', '["literature", "backtest"]'),
    )
    jobs = make_plan(found, only=["flow", "backtest"]).jobs
    assert {job.key.protocol for job in jobs} == {"backtest"}
    assert [job.key.method for job in jobs] == [
        "last value", "seasonal naive", "random walk", "flow",
    ]  # fmt: skip
    with pytest.raises(UnknownNameError, match=r"no 'flaw' in this benchmark: small, .*flow"):
        make_plan(found, only=["flaw"])


@pytest.mark.parametrize(
    ("old", "new", "models", "baselines"),
    [
        ("hidden_size = 8", "hidden_size = 9", True, False),
        ("max_epochs = 1", "max_epochs = 2", True, False),
        ("num_samples = 10", "num_samples = 11", True, True),
        ("length = 600", "length = 606", True, True),
        ("num_test_windows = 3", "num_test_windows = 4", True, True),
        ('"by nobody"', '"by somebody"', False, False),
        ('title = "Small"', 'title = "Tiny"', False, False),
    ],
)
def test_the_digest_has_all_that_determines_a_run(tmp_path, old, new, models, baselines):
    before = {job.key: job for job in make_plan(small.read(tmp_path)).jobs}
    after = {job.key: job for job in make_plan(small.read(tmp_path, (old, new))).jobs}
    for key, job in before.items():
        changed = after[key].digest != job.digest
        assert changed == (models if job.kind == "model" else baselines), key


def test_other_values_are_other_data(tmp_path, monkeypatch):
    found = small.read(tmp_path)
    before = make_plan(found).jobs
    law = data.SeasonalVAR.sample

    def shifted(self, *arguments, **options):
        series = law(self, *arguments, **options)
        return {**series, "target": series["target"] + 1e-9}

    monkeypatch.setattr(data.SeasonalVAR, "sample", shifted)
    assert all(a.digest != b.digest for a, b in zip(before, make_plan(found).jobs, strict=True))


def test_data_that_are_not_there_are_left_out(tmp_path, monkeypatch):
    def nowhere(*_):
        raise Missing("no archive")

    monkeypatch.setattr(plan, "load", nowhere)
    found = make_plan(small.read(tmp_path))
    assert found.jobs == ()
    assert found.skipped == ("small is left out: no archive",)


def own(folder, changes=()):
    """The data set of a file, held to what it holds."""
    text = small.OWN
    for old, new in changes:
        text = text.replace(old, new)
    (spec,) = Configuration.read(small.write_own(folder, text)).datasets
    return pinned(spec)


def test_the_last_windows_of_a_file_are_scored(tmp_path):
    task = load(own(tmp_path), "ending")
    assert [w["target"].shape for w in task.windows] == [(2, 66), (2, 73), (2, 80)]
    assert [entry["target"].shape for entry in task.train] == [(2, 59)]
    assert (task.freq, task.dimension_names) == ("D", ("north", "south"))


def test_a_long_table_is_read_as_it_is_told(tmp_path):
    columns = 'item_column = "shop"\ntarget_column = "sold"\n'
    spec = own(tmp_path, [("num_windows = 3", f"num_windows = 3\n{columns}")])
    wide = pd.read_csv(tmp_path / "sales.csv")
    wide.melt("day", var_name="shop", value_name="sold").to_csv(tmp_path / "sales.csv", index=False)
    task = load(pinned(spec), "ending")
    assert [w["item_id"] for w in task.windows] == ["north", "south"] * 3
    assert [entry["target"].shape for entry in task.train] == [(1, 59), (1, 59)]
    assert task.dimension_names == ("sold",)


def test_another_version_of_a_file_is_never_taken_for_the_first(tmp_path):
    """Not by a run of the plan that it was changed under, nor by a later plan."""
    path = small.write_own(tmp_path)
    before = make_plan(Configuration.read(path)).jobs
    again = make_plan(Configuration.read(path)).jobs
    assert [a.digest for a in again] == [b.digest for b in before]
    assert Job.from_json(before[0].to_json()) == before[0]
    with (tmp_path / "sales.csv").open("a") as file:
        file.write("\n")
    with pytest.raises(DataError, match=r"sales: .*sales.csv has changed since"):
        load(before[0].dataset, "ending")
    after = make_plan(Configuration.read(path)).jobs
    assert all(a.digest != b.digest for a, b in zip(before, after, strict=True))


def test_files_that_cannot_be_used_are_told(tmp_path):
    spec = own(tmp_path)
    with pytest.raises(DataError, match=r"sales: 6 windows .* more than half of the 80 steps"):
        load(replace(spec, num_windows=6), "ending")
    (tmp_path / "sales.csv").write_text("day,north\n2024-01-01,a\n2024-01-02,b\n2024-01-03,c\n")
    with pytest.raises(DataError, match=r"sales: .*column 'north' .* is not numeric"):
        load(pinned(spec), "ending")
    (tmp_path / "sales.csv").unlink()
    with pytest.raises(DataError, match=r"sales: .*sales.csv can't be read: No such file"):
        make_plan(Configuration.read(small.write(tmp_path, small.OWN)))
