"""The report says what the records say, in words, tables and numbers; nothing breaks out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.benchmark.pages import HOSTILE, LEVELS, benchmark, full
from tests.benchmark.records import failed, record
from tsdiff.benchmark.page import numbers
from tsdiff.benchmark.page.charts import STEPS, calibrated_band, chart_data
from tsdiff.benchmark.page.findings import finding, summary
from tsdiff.benchmark.page.groups import groups_of
from tsdiff.benchmark.page.markup import Html, element, script_json
from tsdiff.benchmark.report import report_html, write_report
from tsdiff.benchmark.tables import markdown, number
from tsdiff.evaluation import Score, compare
from tsdiff.evaluation.integral_transform import calibration_error


class Page(HTMLParser):
    """Elements, text outside of scripts, and the scripts' text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


@pytest.fixture(scope="module")
def text() -> str:
    return report_html(benchmark(), title="Two data sets", configuration={"seeds": [0, 1]})


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_elements_escape_what_is_not_html():
    made = element("a", "<b>", Html("<i>x</i>"), None, 3, href='"&', class_="c", hidden=False)
    assert made == '<a href="&quot;&amp;" class="c">&lt;b&gt;<i>x</i>3</a>'
    assert element("br") == "<br>"


def test_json_in_a_script_can_not_end_it():
    content = {"a": HOSTILE, "b": [float("nan"), 1.5], "<!--": "]]>"}
    text = script_json(content)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"a": HOSTILE, "b": [None, 1.5], "<!--": "]]>"}


def test_numbers_are_printed_to_be_read():
    assert [numbers.amount(v) for v in (0, 2, 16.0, 2.5, 0.01234, 1234567)] == [
        "0", "2", "16", "2.50", "0.0123", "1\u2009234\u2009567"
    ]  # fmt: skip
    assert [numbers.seconds(v) for v in (0.0024, 3.14159, 720, 7300, float("nan"))] == [
        "2.4 ms", "3.14 s", "12 min", "2.03 h", "–"
    ]  # fmt: skip
    assert [numbers.change(v) for v in (-0.0912, 0.0004, 0.21, 24)] == [
        "−9.1 %", "0.0 %", "+21 %", "+2\u2009400 %"
    ]  # fmt: skip
    assert numbers.score_text("crps", Score(0.0081, 0.00004)) == ("0.00810", "0.00004")
    assert numbers.score_text("crps", Score(0.0081, 0.000004)) == ("0.00810", "0.000004")
    assert numbers.score_text("crps", Score(0.0081, 0.0)) == ("0.00810", "")
    assert numbers.score_text("coverage_80", Score(0.781, 0.02)) == ("78 %", "2")
    assert numbers.score_text("nll", Score(-5.22, float("nan"))) == ("−5.22", "")
    assert [numbers.memory(v * 2**20) for v in (300, 2048)] == ["300 MiB", "2.0 GiB"]


def test_hostile_names_stay_text(text, page):
    assert "<script>window" not in text
    assert page.count("script") == 2  # the data and the program
    assert page.count("b") == len(groups_of(benchmark()))  # those of the captions
    assert "<script>window.hacked = 1</script>" in page.text
    data = json.loads(page.scripts[0])
    assert HOSTILE in [method["name"] for method in data["groups"][0]["methods"]]


def test_the_page_needs_nothing_beside_itself(text, page):
    for tag, attributes in page.elements:
        assert not {"src", "srcset", "action"} & set(attributes)
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert tag not in {"iframe", "img", "object"}
        if "href" in attributes:
            assert attributes["href"].startswith(("#", "data:,"))
    assert not re.findall(r"url\((?!#)", text)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert "@import" not in text


def test_the_policy_allows_its_own_style_and_script_alone(text, page):
    (policy,) = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    assert policy.startswith("default-src 'none'; ")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style
    for kind, content in (("style", style.group(1)), ("script", page.scripts[1])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_anchors_lead_somewhere_and_are_unique(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = [a["href"][1:] for tag, a in page.elements if tag == "a"]
    assert set(links) <= set(ids)


def test_scores_are_those_of_the_comparison(page):
    evaluations = [
        r.evaluation for r in benchmark() if r.key.dataset == "walks" and r.evaluation is not None
    ]
    for row in compare(evaluations).rows:
        for metric in ("crps_sum_q19", "crps", "energy_score"):
            score = row.scores[metric]
            spread = number(metric, score.error, like=score.value)
            assert f"{number(metric, score.value)} ± {spread}" in page.text


def test_a_column_for_every_score_and_a_row_for_every_method(page):
    first = benchmark()[0].evaluation
    assert first is not None
    heads = [a for tag, a in page.elements if tag == "th" and a.get("scope") == "col"]
    assert all(a.get("aria-sort") in (None, "none", "ascending") for a in heads)
    assert sum(a.get("aria-sort") == "ascending" for a in heads) == 2
    # Overview, two tables of scores, costs and failures.
    sortable = [a for tag, a in page.elements if tag == "table" and a.get("class") == "sortable"]
    assert len(sortable) == 5
    columns = len(first.scores) + 4  # method, difference, interval, seeds
    assert sum("aria-sort" in a for a in heads) == 3 + 2 * columns + 7 + 4


@pytest.mark.parametrize(("shift", "words"), [(0.0, "The best is model"), (1.0, "A baseline wins")])
def test_the_winner_is_named_whoever_it_is(shift, words):
    records = [
        record("model", shift=shift, windows=8),
        record("random walk", kind="naive", shift=0.5, windows=8),
    ]
    (group,) = groups_of(records)
    said = Page(finding(group)).text
    assert words in said
    scores = {m.name: m.score("crps_sum_q19") for m in group.methods}
    assert all(number("crps_sum_q19", score.value) in said for score in scores.values())
    percent = 100 * abs(scores["model"].value / scores["random walk"].value - 1)
    assert f"{percent:.0f} %" in said
    assert "the luck of 8 windows" in said
    assert ("more than the luck" in said) == group.significance["model"].is_significant
    assert ("A model has" in summary([group])) == (shift == 0.0)


def test_lone_models_lone_baselines_and_single_windows_get_their_sentence():
    only = groups_of([record("random walk", kind="naive")])[0]
    assert "Only baselines ran; the best is random walk" in Page(finding(only)).text
    alone = groups_of([record("model")])[0]
    assert "there is no baseline beside it" in finding(alone)
    single = groups_of([record("model", windows=1), record("walk", kind="naive", windows=1)])[0]
    assert single.significance is None
    assert "can't be said" in Page(finding(single)).text
    assert "luck" not in summary([single])
    for group in (only, alone, single):
        assert "<table" in report_html(group.records, title="Small")


@pytest.mark.parametrize(
    ("constant", "spread", "words"),
    [
        (0.0, 1.0, "No method has a score"),
        (np.nan, 1.0, "No method has a score"),
        (5.0, 1.0, "A baseline wins: walk (0.0000). The best model, model"),
        (5.0, 0.0, "score the same"),
    ],
)
def test_zeros_gaps_and_perfect_baselines_get_their_sentence(constant, spread, words):
    """Truth without scale or values, and a constant that the baseline foresees."""
    runs = [record("model", s, constant=constant, spread=spread) for s in range(2)]
    runs.append(record("walk", kind="naive", constant=constant, spread=0.0))
    (group,) = groups_of(runs)
    said = Page(finding(group)).text
    assert words in said
    if np.isnan(constant) or not constant:
        assert summary([group]) == "No comparison has scores of both models and baselines."
    page = Page(report_html(runs, title="Edge"))
    for text in (said, page.text, markdown(runs), summary([group])):
        assert not re.search(r"\b(nan|inf)\b", text), text


def test_points_have_no_intervals():
    sure = record("last value", kind="naive")
    assert sure.evaluation is not None
    fixed = {name: Score(score.value, 0.0) for name, score in sure.evaluation.scores.items()}
    fixed["coverage_80"] = Score(0.8, 0.0)  # a perfect one, were it an interval
    point = replace(sure, evaluation=replace(sure.evaluation, scores=fixed))
    (group,) = groups_of([point, full("model")])
    assert group.best("coverage_80") == {"model"}
    data = chart_data([group])["groups"][0]
    of = {m["name"]: m["calibration"]["single"] for m in data["methods"]}
    assert of["last value"] is None
    assert of["model"] is not None


def test_failures_are_told_with_their_reason(page):
    assert "ValueError: no" in page.text
    assert "1 run failed" in page.text
    nothing = Page(report_html([failed()], title="All failed"))
    assert "ValueError: no" in nothing.text


def test_settings_and_configuration_are_printed(page):
    assert "parameters.lags" in page.text
    assert '"seeds"' in page.text
    assert "[[datasets]]" in report_html([record()], title="x", configuration="[[datasets]]")


def test_notes_are_told_once_with_the_methods_they_are_about():
    noted = [replace(record(name), notes=("no density",)) for name in ("a", "b")]
    assert Page(report_html(noted, title="x")).text.count("a, b: no density") == 1


def test_quantiles_survive_their_packing():
    made = full("model", steps=5)
    broken = {**made.fans[0].quantiles, "50": (1.0, None, 2.0, float("nan"), 3.0)}
    made = replace(made, fans=(replace(made.fans[0], quantiles=broken), *made.fans[1:]))
    (group,) = chart_data(groups_of([made]))["groups"]
    (fan,) = group["fans"]
    for place, original in enumerate(made.fans):
        panel = group["panels"][place]
        low, high = panel["range"]
        whole = np.frombuffer(base64.b64decode(fan["values"][str(place)]), dtype="<u2")
        values = low + whole.reshape(len(LEVELS), 5) / STEPS * (high - low)
        values[whole.reshape(values.shape) == STEPS + 1] = np.nan
        expected = np.array([original.quantiles[str(q)] for q in LEVELS], dtype=float)
        np.testing.assert_allclose(values, expected, atol=(high - low) / STEPS)
        assert panel["truth"] == list(original.truth)
        assert panel["times"][10] == "4 Mar 2024"  # the first step that was forecast
    assert made.fans[0].truth[-1] is None


def test_coverage_follows_from_the_histogram():
    counts = (0.0,) * 5 + (10.0,) * 10 + (0.0,) * 5  # all in the middle half
    made = replace(full("model"), pit_counts=counts)
    found = chart_data(groups_of([made]))["groups"][0]["methods"][0]["calibration"]["single"]
    assert found["levels"] == pytest.approx(np.arange(1, 11) / 10)
    assert found["covered"] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1])
    assert found["bars"] == pytest.approx([0, 0, 1, 2, 2, 2, 2, 1, 0, 0])


def test_the_band_holds_nine_of_ten_bars_of_independent_calibrated_values():
    rng, values, repeats = np.random.default_rng(0), 400, 400
    draws = np.sort(rng.uniform(size=(repeats, values)), axis=1)
    grid = np.linspace(0, 1, 501)
    shares = np.stack([np.searchsorted(row, grid, side="right") / values for row in draws])
    yardstick = float(calibration_error(shares).mean())
    band = calibrated_band(10 * values, yardstick)  # ten times as many that move in tens
    assert band is not None
    bars = np.stack([np.histogram(row, 10, (0, 1))[0] for row in draws]) * 10 / values
    inside = np.mean((bars >= band[0] - 1e-9) & (bars <= band[1] + 1e-9))
    assert 0.88 < inside < 0.94
    assert calibrated_band(100, float("nan")) is None


def test_the_same_records_give_the_same_page(tmp_path, text):
    path = write_report(
        benchmark(), tmp_path / "r.html", title="Two data sets", configuration={"seeds": [0, 1]}
    )
    assert path.read_text(encoding="utf-8") == text


def test_hundreds_of_records_stay_small():
    base = full("model", steps=30)
    records = [
        replace(
            base,
            key=replace(base.key, dataset=f"set {d}", method=f"model {m}", seed=seed),
            kind="model" if m else "naive",
            evaluation=replace(base.evaluation, name=f"model {m}", seed=seed),
            fans=base.fans * 1
            if seed
            else tuple(replace(f, window=w) for w in range(5) for f in base.fans[:4]),
        )
        for d in range(6)
        for m in range(10)
        for seed in range(5)
    ]
    assert len(records) == 300
    assert len(report_html(records, title="Large").encode()) < 2e6


def test_wrong_records_are_refused():
    with pytest.raises(ValueError, match="no records"):
        report_html([], title="x")
    with pytest.raises(ValueError, match=r"two records of one run, walk · literature · a · seed 0"):
        report_html([record("a"), record("a")], title="x")
