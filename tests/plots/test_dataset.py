"""Figures of a dataset equal the numbers of its summary."""

from medvit import plots
from medvit.data import medmnist, summary


def test_the_figures_contain_the_numbers_of_the_summary(synthetic_root):
    result = summary.summarize(medmnist.get("retinamnist"), root=synthetic_root)
    bars = plots.class_balance(result.counts, result.dataset.classes).data
    assert [bar.customdata.tolist() for bar in bars] == [count.tolist() for count in result.counts.values()]
    assert [trace.name for trace in plots.intensity_histogram(result.histogram).data] == [
        "red",
        "green",
        "blue",
    ]
    assert [trace.name for trace in plots.intensity_histogram(result.histogram[:1]).data] == ["grey"]
