"""Training that is killed outright and started again ends as if it had never been killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

SCRIPT = """
import sys
import numpy as np, pandas as pd, torch
import tsdiff

torch.set_num_threads(1)
target = 10 + np.random.default_rng(0).standard_normal((3, 200)).cumsum(axis=1)
data = [{"target": target, "start": pd.Period("2020-01-01", "D")}]
estimator = tsdiff.FlowMatchingEstimator(
    prediction_length=4, context_length=12, hidden_size=8, dropout=0.1, batch_size=8,
    num_batches_per_epoch=10, max_epochs=40, patience=40, num_validation_samples=8,
)
predictor = estimator.fit(data, checkpoint_dir=sys.argv[1] or None, progress=False)
predictor.save(sys.argv[2])
"""


def run(checkpoints: str, output: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, checkpoints, str(output)])


def test_killed_training_resumes_bit_for_bit(tmp_path):
    whole = run("", tmp_path / "whole")
    killed = run(str(tmp_path / "checkpoints"), tmp_path / "killed")
    last = tmp_path / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline:
        assert killed.poll() is None, "training ended before it could be killed"
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()

    assert run(str(tmp_path / "checkpoints"), tmp_path / "resumed").wait() == 0
    assert whole.wait() == 0
    expected = load_file(tmp_path / "whole" / "model.safetensors")
    found = load_file(tmp_path / "resumed" / "model.safetensors")
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
