"""A row of small pictures."""

import re

import numpy as np

from medvit import plots
from medvit.ui.components import thumbnail_strip


def test_the_selected_picture_is_framed_and_each_says_what_it_shows():
    pictures = [plots.apply_colormap(np.full((7, 7), value)) for value in (0.0, 0.5, 1.0)]
    row = thumbnail_strip.render("Heads <2>", pictures, ["a", 'a "b"', "c"], selected=1)
    assert re.findall(r'data-index="(\d)" aria-pressed="(\w+)"', row) == [
        ("0", "false"), ("1", "true"), ("2", "false"),
    ]  # fmt: skip
    assert len(set(re.findall(r'src="([^"]+)"', row))) == 3
    assert 'alt="a &#34;b&#34;"' in row
    assert "Heads &lt;2&gt;" in row
