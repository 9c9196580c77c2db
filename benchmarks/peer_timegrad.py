"""TimeGrad of pytorch-ts as a server on standard input; see ``peer.py``, which starts it.

Runs under an interpreter that has ``pts`` and knows nothing of tsdiff. Every line read is a request
in JSON, every line written the answer. What the library prints goes to the error stream.
"""

import json
import os
import sys
import time

import gluonts
import numpy as np
import pandas as pd
import torch
from pts import Trainer
from pts.feature import (
    fourier_time_features_from_frequency,
    lags_for_fourier_time_features_from_frequency,
)
from pts.model.time_grad import TimeGradEstimator

REPEATS = 1000
"""Copies of the series in the training data: the library takes the data's length for the number of
windows that may be skipped in a row, and one series alone ends training at the second."""


def now() -> tuple[float, float]:
    """Seconds on the wall and of this process's computing."""
    return time.perf_counter(), time.process_time()


class ClockedEstimator(TimeGradEstimator):
    """TimeGrad that notes when each of its training steps begins."""

    def create_training_network(self, device):
        network = super().create_training_network(device)
        self.began = []
        network.register_forward_pre_hook(lambda *_: self.began.append(now()))
        return network


class Peer:
    """The data, and what has been trained on them last."""

    def __init__(self, setup: dict):
        self.setup = setup
        with np.load(setup["data"]) as arrays:
            start = pd.Period(setup["start"], setup["freq"])
            self.train_data = [{"target": arrays["train"], "start": start}] * REPEATS
            names = (f"history_{i}" for i in range(setup["num_windows"]))
            self.histories = [{"target": arrays[name], "start": start} for name in names]

    def about(self) -> dict:
        versions = {"gluonts": gluonts.__version__, "torch": torch.__version__}
        return versions | {"numpy": np.__version__, "pandas": pd.__version__}

    def train(self, updates: int, epochs: int, seed: int) -> dict:
        """Train anew; seconds in all, and from each step's beginning to the next's (wall, CPU)."""
        setup, freq = self.setup, self.setup["freq"]
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the library draws its windows so
        dims = len(self.train_data[0]["target"])
        lags = lags_for_fourier_time_features_from_frequency(freq)
        calendar = sum(
            len(feature(pd.period_range("2000-01-01", periods=9, freq=freq).to_timestamp()))
            for feature in fourier_time_features_from_frequency(freq)
        )
        estimator = ClockedEstimator(
            input_size=(len(lags) + 1) * dims + calendar,
            freq=freq,
            prediction_length=setup["prediction_length"],
            target_dim=dims,
            diff_steps=100,
            beta_end=0.1,
            beta_schedule="linear",
            trainer=Trainer(
                device="cpu",
                epochs=epochs,
                num_batches_per_epoch=updates // epochs,
                batch_size=setup["batch_size"],
                learning_rate=1e-3,
            ),
        )
        began = time.perf_counter()
        self.predictor = estimator.train(self.train_data, prefetch_factor=None)
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "steps": np.diff(estimator.began, axis=0).tolist()}

    def sample(self, windows: int, samples: int, seed: int, output: str) -> dict:
        """Forecast the first windows; samples ``[V, N, T, D]`` go to a file."""
        torch.manual_seed(seed)
        began = np.array(now())
        forecasts = list(self.predictor.predict(self.histories[:windows], num_samples=samples))
        seconds = (now() - began).tolist()
        np.save(output, np.stack([forecast.samples for forecast in forecasts]))
        return {"seconds": seconds, "starts": [str(f.start_date) for f in forecasts]}


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    torch.set_num_threads(1)
    peer = Peer(json.loads(sys.argv[1]))
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(peer, request.pop("do"))(**request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
