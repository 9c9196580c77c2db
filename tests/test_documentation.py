"""What the documentation shows is run as it is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from tests.estimators.small import SMALL, entry, random_walk, samples_of
from tsdiff.estimators.training import TrainingOptions
from tsdiff.networks import ResidualMLP
from tsdiff.random import seeded

ROOT = Path(__file__).parents[1]


def python_blocks(document: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def run(code: str, folder: Path) -> str:
    # Old releases of matplotlib call what new ones of pyparsing deprecate.
    others = ("_fontconfig_pattern", "_mathtext")
    filters = ["error::DeprecationWarning"]
    filters += [f"ignore::DeprecationWarning:matplotlib.{module}" for module in others]
    command = [sys.executable, *(part for f in filters for part in ("-W", f)), "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


def test_readme_runs_as_printed(tmp_path):
    printed = run("\n".join(python_blocks("README.md")), tmp_path)
    assert "flow matching" in printed
    assert "random walk" in printed


DECODERS = ["TrigonometricEstimator", "LaplaceEstimator"]


@pytest.fixture
def decoders():
    """What the page on decoders defines."""
    from tsdiff.estimators import ESTIMATORS

    names: dict = {}
    for block in python_blocks("docs/add-a-decoder.md"):
        exec(compile(block, "docs/add-a-decoder.md", "exec"), names)
    yield names
    for name in DECODERS:
        ESTIMATORS.pop(name, None)


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_of_ones_own(name, decoders, tmp_path):
    """Estimators that the page on decoders defines pass for some of ours."""
    import tsdiff

    data = [entry(random_walk())]
    predictor = decoders[name](**SMALL).fit(data, progress=False)
    predictor.save(tmp_path)
    assert (samples_of(tsdiff.load(tmp_path), data) == samples_of(predictor, data)).all()
    assert predictor.log_prob(data).shape == (1, 4)


def test_the_law_of_the_page_is_that_of_laplace(decoders):
    """Untrained: the data's moments, and as much probability within a scale as there should be."""
    decoder = decoders["Laplace"](ResidualMLP(4, 3), 2)
    decoder.set_data_moments(torch.tensor([5.0, -1.0]), torch.diag(torch.tensor([8.0, 0.5])))
    context = torch.zeros(200_000, 1, 3)
    with torch.no_grad():
        drawn = decoder.sample(context, generator=seeded(0)).squeeze(1)
        density = decoder.log_prob(drawn.unsqueeze(1), context)
    scale = torch.tensor([2.0, 0.5])
    distance = (drawn - torch.tensor([5.0, -1.0])).abs() / scale
    assert drawn.std(0).tolist() == pytest.approx([8.0**0.5, 0.5**0.5], rel=0.02)
    assert (distance < 1.0).float().mean(0).tolist() == pytest.approx([0.632, 0.632], abs=0.01)
    expected = -distance.sum(1) - (2.0 * scale).log().sum()
    torch.testing.assert_close(density, expected)


PAGES = ["start.md", "choose.md"]
PAGES += [f"math/{name}.md" for name in ("few-steps", "guidance", "horizon", "likelihood")]


@pytest.mark.parametrize("page", PAGES)
def test_pages_run_as_printed(page, tmp_path, monkeypatch):
    """Blocks of a page follow each other; only training is shorter than they say, and its end."""

    def briefly(estimator):
        options = {field.name: getattr(estimator, field.name) for field in fields(TrainingOptions)}
        brief = {"max_epochs": 1, "num_batches_per_epoch": 2, "num_validation_samples": 4}
        return TrainingOptions(**options | brief)

    monkeypatch.setattr(TrainingOptions, "of", briefly)
    monkeypatch.setattr("tsdiff.estimators.base.calibrate", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(python_blocks(f"docs/{page}")), page, "exec"), {})


def test_published_timegrad_can_be_had():
    published, *_ = python_blocks("docs/choose.md")
    names: dict = {}
    exec(published, names)
    options = SMALL | {"max_epochs": 1, "num_steps": 10}
    estimator = names["estimator"].set_params(**options)
    data = [entry(random_walk())]
    assert samples_of(estimator.fit(data, progress=False), data).shape == (1, 7, 4, 3)


EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run(example, tmp_path):
    printed = run((ROOT / "examples" / example).read_text(encoding="utf-8"), tmp_path)
    if example == "preferences.py":
        (saved,) = re.findall(r"costs (-?\d+) % less", printed)
        assert int(saved) > 10
        return
    found = [int(value) for value in re.findall(r": +(\d+) \(law", printed)]
    laws = [int(value) for value in re.findall(r"\(law: (\d+)\)", printed)]
    assert len(found) == len(laws) > 0
    assert all(abs(value - law) < 5 for value, law in zip(found, laws, strict=True))
