import math

import pytest

from bench.report import Report, ratios, shown


def verdicts(report):
    return [line.verdict for line in report.lines]


def test_the_median_decides_not_the_best_round():
    report = Report()
    report.add("HTTP", "rate", [90, 120, 80], at_least=100)
    report.add("HTTP", "rate", [90, 120, 110], at_least=100)
    assert verdicts(report) == ["MISSED", "met"]


def test_a_bound_itself_is_met():
    report = Report()
    report.add("HTTP", "p99", [3.0], at_most=3)
    report.add("HTTP", "rate", [30.0], at_least=30)
    assert verdicts(report) == ["met", "met"]


def test_a_figure_without_target_has_no_verdict():
    report = Report()
    report.add("HTTP", "rate", [1.0])
    assert verdicts(report) == [""]
    assert report.missed() == []


def test_a_figure_that_is_not_a_number_misses_its_target():
    report = Report()
    report.add("HTTP", "p99", [math.nan], at_most=3)
    assert verdicts(report) == ["MISSED"]


def test_what_could_not_be_measured_says_why():
    report = Report()
    report.skip("Assets", "everything", "/assets answers 404", at_most=3)
    assert report.lines[0].verdict == "skipped"
    assert report.lines[0].cells()[-1] == "skipped: /assets answers 404"
    assert report.missed() == []


def test_both_tables_show_every_figure_under_its_group():
    report = Report()
    report.add("HTTP", "rate", [1_000, 2_000, 3_000], unit="answers/s", at_least=1_500)
    report.add("Start", "first answer", [250.0], unit="ms", at_most=300)
    row = "| rate, answers/s | >= 1,500 | 1,000 | 2,000 | 3,000 | met |"
    assert row in report.markdown().splitlines()
    assert [line for line in report.markdown().splitlines() if line.startswith("#")] == [
        "## HTTP",
        "## Start",
    ]
    text = report.text().splitlines()
    assert "HTTP" in text
    assert "Start" in text
    assert any("first answer, ms" in line and line.endswith("met") for line in text)


def test_ratios_are_formed_round_by_round():
    assert ratios([10, 30], [5, 10]) == [2, 3]
    with pytest.raises(ValueError, match="shorter"):
        ratios([1, 2], [1])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234567.8, "1,234,568"),
        (99.94, "99.9"),
        (12.345, "12.3"),
        (0.4494, "0.449"),
        (1.0e-9, "1.0e-09"),
        (math.inf, "inf"),
    ],
)
def test_numbers_are_shown_with_the_digits_that_count(value, text):
    assert shown(value) == text
