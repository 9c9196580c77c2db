"""``tsdiff benchmark``: what it lists, does, writes and refuses."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from tests.benchmark import small
from tests.cli.conftest import call
from tsdiff.benchmark.configuration import Configuration
from tsdiff.benchmark.plan import make_plan
from tsdiff.benchmark.running import execute, failure
from tsdiff.benchmark.session import Workers
from tsdiff.benchmark.store import Store


@pytest.fixture
def in_this_process(monkeypatch):
    """Runs without a process for each; the model's come to nothing."""

    def run(self, jobs, store):
        for job in jobs:
            record = failure(job, "ValueError: no") if job.key.method == "flow" else execute(job)
            store.write(record)
            yield record

    monkeypatch.setattr(Workers, "run", run)


def test_from_configuration_to_table_and_on(in_this_process, tmp_path):
    configuration, output = small.write(tmp_path), tmp_path / "out"
    planned = call("benchmark", configuration, "--output", output, "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert "to do  small · literature · flow · seed 0" in planned.stdout
    assert "4 runs, 0 of them stored" in planned.stdout
    assert not output.exists()

    done = call("benchmark", configuration, "--output", output, "--markdown", tmp_path / "t.md")
    assert done.exit_code == 0, done.output
    assert "4 runs, 0 of them stored" in done.stderr
    assert "[4/4, 0 s left] small · literature" in done.stderr
    assert "flow · seed 0: failed, ValueError: no" in done.stderr
    assert "1 run failed" in done.stderr
    table = (output / "table.md").read_text()
    assert table.strip() == done.stdout.strip()
    assert (tmp_path / "t.md").read_text() == table
    assert "| random walk |" in table
    assert "* flow, seed 0: ValueError: no" in table
    for name in ("scores.csv", "scores.json", "costs.csv", "configuration.toml"):
        assert (output / name).stat().st_size > 100

    # Without its name, the configuration that is kept is taken; what failed is tried again.
    again = call("benchmark", "--output", output)
    assert "4 runs, 3 of them stored" in again.stderr
    assert "[1/1, 0 s left]" in again.stderr
    listed = call("benchmark", "--output", output, "--dry-run")
    assert "failed small · literature · flow · seed 0" in listed.stdout
    assert "stored small · literature · last value · seed 0" in listed.stdout
    reported = call("benchmark", "--output", output, "--report-only", "--quiet")
    assert reported.stdout.strip() == table.strip()
    assert reported.stderr == ""


def test_a_file_of_ones_own_is_scored_reported_and_never_mixed(in_this_process, tmp_path):
    configuration, output = small.write_own(tmp_path), tmp_path / "out"
    done = call("benchmark", configuration, "--output", output)
    assert done.exit_code == 0, done.output
    assert "6 runs, 0 of them stored" in done.stderr
    first = (output / "table.md").read_text()
    assert "## sales, ending" in first
    page = (output / "report.html").read_text()
    assert "sales" in page
    assert str(tmp_path) not in page  # nobody else's business
    (record, *_) = Store(output)
    hashed = hashlib.sha256((tmp_path / "sales.csv").read_bytes()).hexdigest()
    told = record.settings["dataset"]["table"]
    assert (told["path"], told["sha256"]) == ("sales.csv", hashed)
    assert "6 runs, 6 of them stored" in call("benchmark", "--output", output).stderr

    small.write_own(tmp_path, length=90)
    listed = call("benchmark", "--output", output, "--dry-run")
    assert "6 runs, 0 of them stored" in listed.stdout
    # A new version that was begun: tables of what is there don't hold runs of the old one.
    plan = make_plan(Configuration.read(configuration))
    Store(output).write(replace(execute(plan.jobs[0]), finished="2999-01-01T00:00:00+00:00"))
    call("benchmark", "--output", output, "--report-only")
    table = (output / "table.md").read_text()
    assert "| last value | 1 |" in table
    assert "random walk |" not in table


def test_a_report_of_nothing_is_refused(tmp_path):
    configuration = small.write(tmp_path)
    result = call("benchmark", configuration, "--output", tmp_path / "out", "--report-only")
    assert result.exit_code == 1
    assert "holds no record of this benchmark" in result.stderr


def test_wrong_configurations_are_explained(tmp_path):
    configuration = small.write(tmp_path, small.TEXT.replace("hidden_size", "hiden_size"))
    result = call("benchmark", configuration, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "error: small.toml: models.flow.hiden_size: 'hiden_size' is not known" in result.stderr
    assert not (tmp_path / "out").exists()


def test_wrong_names_are_explained(tmp_path):
    configuration = small.write(tmp_path)
    result = call("benchmark", configuration, "--output", tmp_path / "out", "--only", "flaw")
    assert result.exit_code == 1
    assert "there is no 'flaw' in this benchmark: small, literature" in result.stderr
