"""Tables of the Test set tab: metrics of each class and published results."""

import pytest

from medvit.checkpoint import DEFAULT_ROOT, load
from medvit.data import medmnist
from medvit.ui.panels import tables
from medvit.ui.panels.tables import Table


@pytest.fixture(scope="module")
def checkpoint():
    return load(DEFAULT_ROOT / "retinamnist" / "cnn")


def test_a_table_is_escaped_and_its_notes_are_subdued():
    table = Table(("", "a <b>"), [("x & y", "1"), ("z", ("2", "(1 to 3)"))], "note <i>", "title", highlight=1)
    html = tables.render(table)
    assert "a &lt;b&gt;" in html
    assert "x &amp; y" in html
    assert '<td>2 <span class="quiet">(1 to 3)</span></td>' in html
    assert html.count('class="highlight"') == 1
    assert "note &lt;i&gt;" in html


def test_an_interval_is_formatted_or_left_out():
    assert tables.interval((0.1, 0.25)) == "10.0% to 25.0%"
    assert tables.interval(None) == ""
    assert tables.with_interval(0.5, (0.4, 0.6), ".2f") == ("0.50", "(0.40 to 0.60)")
    assert tables.with_interval(0.5, None) == "50.0%"


def test_each_class_has_a_row_with_its_support(checkpoint):
    table = tables.per_class_table(checkpoint)
    assert len(table.rows) == len(checkpoint.dataset.classes)
    assert sum(int(row[1]) for row in table.rows) == len(checkpoint.test_labels)
    recalls = [metrics["recall"] for metrics in checkpoint.card["test"]["per_class"].values()]
    assert [row[3][0] for row in table.rows] == [f"{recall:.1%}" for recall in recalls]


def test_our_result_stands_out_among_the_published_ones(checkpoint):
    table = tables.published_table(checkpoint)
    assert table.rows[table.highlight][0] == f"{checkpoint.title}, this checkpoint"
    assert [row[0] for row in table.rows[1:-1]] == [
        result.model for result in medmnist.get("retinamnist").settings.published
    ]
    assert table.rows[-1][3] == "43.5%"  # the most frequent of five grades
    assert len({len(row) for row in table.rows}) == 1


def test_the_tiles_of_an_ordinal_task_include_its_own_metrics(checkpoint):
    test = checkpoint.card["test"]
    html = tables.metric_tiles(checkpoint)
    assert f"<b>{test['accuracy']:.1%}</b>" in html
    assert f"<b>{test['quadratic_kappa']:.3f}</b>" in html
    assert "quadratic kappa" not in tables.metric_tiles(load(DEFAULT_ROOT / "breastmnist" / "cnn"))
