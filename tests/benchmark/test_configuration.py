"""Configurations: what they may say, and what is told of those that say something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmark import small
from tsdiff.benchmark.configuration import (
    Configuration,
    ConfigurationError,
    shipped,
    text_to_keep,
    without_folder,
)
from tsdiff.benchmark.data import Table
from tsdiff.estimators import FlowMatchingEstimator


def test_what_is_written_is_what_is_used(tmp_path):
    found = small.read(
        tmp_path,
        ('chosen = "by nobody"', 'chosen = "all."\n[models.flow.on.small]\nhidden_size = 9\n'
         'chosen = "here."'),
    )  # fmt: skip
    (model,) = found.models
    assert (found.seeds, found.num_samples, found.budget.max_epochs) == ((0,), 10, 1)
    assert found.baselines_on(found.datasets[0]) == ("naive",)
    assert (model.chosen, model.chosen_on["small"]) == ("all.", "here.")
    estimator = model.make("small", 6, found.budget, seed=5)
    assert isinstance(estimator, FlowMatchingEstimator)
    assert (estimator.hidden_size, estimator.num_layers) == (9, 1)
    assert (estimator.seed, estimator.max_epochs, estimator.prediction_length) == (5, 1, 6)
    assert model.make("other", 6, found.budget, seed=5).hidden_size == 8


@pytest.mark.parametrize("name", sorted({*shipped()} - {"ablation"}))
def test_shipped_configurations_have_every_model(name):
    found = Configuration.read(name)
    assert {model.name for model in found.models} >= {
        "DDPM", "SGM", "VSDM", "flow matching", "interpolant", "Schrödinger bridge", "consistency",
    }  # fmt: skip
    assert all("validation" in model.chosen for model in found.models)
    assert all(d.num_windows >= 30 for d in found.datasets if "backtest" in d.protocols)


def test_the_ablation_changes_one_thing_at_a_time_and_sees_no_test_window():
    found = Configuration.read("ablation")
    assert {d.protocols for d in found.datasets} == {("backtest",)}
    place = "gefcom2012_load"
    usual, *others = (model.make(place, 24, found.budget, seed=0) for model in found.models)
    for model, estimator in zip(found.models[1:], others, strict=True):
        mine, theirs = estimator.get_params(), usual.get_params()
        changed = [name for name in mine if mine[name] != theirs[name]]
        changed += ["num_members"] * (model.num_members > 1)
        assert len(changed) == 1, f"{model.name} changes {changed}"
    usual, *others = (model.make("exchange_rate", 30, found.budget, 0) for model in found.models)
    assert all(estimator.decoding == usual.decoding for estimator in others)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds = [0]", "seed = [0]", "seed: 'seed' is not known; did you mean 'seeds'"),
        ("seeds = [0]", "seeds = [0.5]", "seeds: must be a list of integers"),
        ("seeds = [0]", "seeds = [1, 1]", "seeds: has 1 twice"),
        ("seeds = [0]", 'against = "flaw"', "against: 'flaw' is not known; did you mean 'flow'"),
        ("num_samples = 10", "num_samples = 1", "num_samples: must be an integer of at least 2"),
        ('["naive"]', '["naiv"]', "baselines: 'naiv' is not known; did you mean 'naive'"),
        ("max_epochs = 1", "max_epochs = 0", "budget.max_epochs: must be an integer of at least 1"),
        ("max_epochs = 1", "max_seconds = -1", "budget.max_seconds: must be a positive number"),
        ("max_epochs = 1", "epochs = 1", "budget.epochs: 'epochs' is not known"),
        ('"literature"', '"litterature"', "datasets.small.protocols: 'litterature' is not known"),
        ("dimensions = 2", "dims = 2", "datasets.small.synthetic.dims: 'dims' is not known"),
        ('"FlowMatchingEstimator"', '"Flow"', "models.flow.estimator: 'Flow' is not known"),
        ("hidden_size = 8", "hiden_size = 8", "models.flow.hiden_size: 'hiden_size' is not known; "
         "did you mean 'hidden_size'"),
        ("hidden_size = 8", "hidden_size = 0", "models.flow: hidden_size must be a positive"),
        ("hidden_size = 8", "num_members = 0", "models.flow.num_members: must be an integer of at"),
        ("hidden_size = 8", "num_members = 11", "num_members: must be at most num_samples, 10"),
        ("hidden_size = 8", 'path = "crooked"', "models.flow: .*'crooked'"),
        ("hidden_size = 8", "seed = 8", "models.flow.seed: is not for models: see 'seeds'"),
        ("hidden_size = 8", "max_epochs = 8", r"models.flow.max_epochs: .* see \[budget\]"),
        ('chosen = "by nobody"', "chosen = 1", "models.flow.chosen: must be a text, got 1"),
        ('chosen = "by nobody"', "[models.flow.on.big]", "models.flow.on.big: 'big' is not known"),
        ('chosen = "by nobody"', "[models.flow.on.small]\nhidden_size = 9",
         "models.flow.on.small.chosen: is missing"),
        ("[budget]", "[budget", "is no TOML"),
    ],
)  # fmt: skip
def test_errors_name_the_file_and_the_key(tmp_path, old, new, message):
    with pytest.raises(ConfigurationError, match=message) as error:
        small.read(tmp_path, (old, new))
    assert "small.toml" in str(error.value)


def test_unknown_data_sets_are_told(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('[[datasets]]\nname = "exchange_rates"\n')
    with pytest.raises(ConfigurationError, match=r"a.toml: datasets.name: .*exchange_rate"):
        Configuration.read(path)


def test_a_missing_file_is_told():
    with pytest.raises(ConfigurationError, match=r"no configuration 'nothing.toml'.*quick"):
        Configuration.read("nothing.toml")


def test_a_file_of_ones_own_is_found_beside_the_configuration(tmp_path, monkeypatch):
    more = 'time_column = "day"\ntarget_column = "north"\nfreq = "D"\nfill_gaps = true\n'
    path = small.write_own(tmp_path, small.OWN + more)
    monkeypatch.chdir(tmp_path.parent)
    (spec,) = Configuration.read(Path(tmp_path.name) / path.name).datasets
    assert (spec.name, spec.protocols, spec.num_windows) == ("sales", ("ending",), 3)
    assert spec.table == Table(
        str(tmp_path / "sales.csv"), 7, "D", "day", ("north",), fill_gaps=True
    )
    assert small.read(tmp_path).datasets[0].table is None


def test_what_is_kept_elsewhere_means_the_same(tmp_path):
    path, kept = small.write_own(tmp_path), tmp_path / "out" / "small.toml"
    kept.parent.mkdir()
    kept.write_text(text_to_keep(path))
    assert Configuration.read(kept) == Configuration.read(path)
    assert text_to_keep(kept) == kept.read_text()
    assert without_folder(kept.read_text()) == path.read_text()
    plain = small.write(tmp_path)
    assert text_to_keep(plain) == plain.read_text() == without_folder(plain.read_text())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('path = "sales.csv"\n', "", "datasets.prediction_length: .* is not known"),
        ("prediction_length = 7", "", "datasets.sales.prediction_length: is missing"),
        ("prediction_length = 7", "prediction_length = 0", "prediction_length: must be an integer"),
        ("num_windows = 3", 'protocols = ["backtest"]', "protocols: 'backtest' is not for files"),
        ("num_windows = 3", 'protocols = "ending"', "sales.protocols: must be a list"),
        ("num_windows = 3", "sha256 = 'a'", "datasets.sha256: 'sha256' is not known"),
        ("num_windows = 3", "time_colum = 'a'", "did you mean 'time_column'"),
        ("num_windows = 3", "target_column = [1]", "target_column: must be a text or a list"),
        ("num_windows = 3", "freq = 1", "datasets.sales.freq: must be a text, got 1"),
        ("num_windows = 3", "[datasets.synthetic]", "datasets.synthetic: 'synthetic' is not known"),
        ("seeds", 'folder = "here"\nseeds', "folder: must be an absolute path, got 'here'"),
    ],
)  # fmt: skip
def test_errors_about_files_name_the_key(tmp_path, old, new, message):
    assert old in small.OWN
    with pytest.raises(ConfigurationError, match=message):
        Configuration.read(small.write_own(tmp_path, small.OWN.replace(old, new)))
